import { hasCode } from '../../../errors.js';
import { RecordFile, recordedSnapshots } from '../../state/record-file.js';
import { type SnapshotRecord, snapshotRecord } from '../snapshot-record.js';

/** The record of a VM's snapshot. */
export class SnapshotFile extends RecordFile<SnapshotRecord> {
  constructor(folder: string, id: string) {
    super(folder, id, snapshotRecord);
  }
}

/** The records of a guest's snapshots, whoever works on them; none where there is no such folder, or it is somebody else's. */
export async function readRecords(folder: string): Promise<SnapshotRecord[]> {
  try {
    const files = (await recordedSnapshots(folder)).map((id) => new SnapshotFile(folder, id));
    return (await Promise.all(files.map((file) => file.read()))).filter((record) => record !== undefined);
  } catch (error) {
    if (hasCode(error, 'ENOENT') || hasCode(error, 'EACCES')) return [];
    throw error;
  }
}
