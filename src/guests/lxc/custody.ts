import { Custody } from '../state/custody.js';
import type { GuestState } from '../state/guest-state.js';
import { dropRecorded } from './dropping.js';
import { lxcRecordFile } from './record-file.js';

/** Custody of a container's snapshots. */
export class LxcCustody extends Custody {
  protected endRecorded(state: GuestState, id: string): Promise<readonly string[]> {
    return dropRecorded(lxcRecordFile(state.folder, id));
  }
}
