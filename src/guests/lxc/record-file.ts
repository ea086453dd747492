import { RecordFile } from '../state/record-file.js';
import { type LxcRecord, lxcRecord } from './snapshot-record.js';

/** The record of a container's snapshot in its guest's state folder. */
export function lxcRecordFile(folder: string, id: string): RecordFile<LxcRecord> {
  return new RecordFile(folder, id, lxcRecord);
}
