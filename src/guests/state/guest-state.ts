import { constants } from 'node:fs';
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { hasCode, StillError } from '../../errors.js';
import { systemCall } from '../../posix/call.js';

const flock = systemCall('int flock(int descriptor, int operation)');
const LOCK_EX = 2;
const LOCK_NB = 4;
const retryMilliseconds = 100;

/**
 * The folder in which a guest's snapshots are written down. It is locked, by the daemon and with it by the keepers that
 * inherit the lock: whoever has it alone knows that nobody else works on the guest's snapshots.
 */
export class GuestState {
  private constructor(
    readonly folder: string,
    private readonly file: FileHandle,
  ) {}

  static folderOf(stateFolder: string, guest: string): string {
    return join(stateFolder, 'guests', guest);
  }

  /** Waits for the lock: the keepers of a daemon that died have to end first. EBUSY: it is not to be had in that time. */
  static async open(
    stateFolder: string,
    guest: string,
    waitMilliseconds: number,
    signal: AbortSignal,
  ): Promise<GuestState> {
    const folder = GuestState.folderOf(stateFolder, guest);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const path = join(folder, 'lock');
    const file = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    try {
      for (const end = Date.now() + waitMilliseconds; ; ) {
        try {
          flock.now(path, file.fd, LOCK_EX | LOCK_NB);
          return new GuestState(folder, file);
        } catch (error) {
          if (!hasCode(error, 'EAGAIN')) throw error;
          if (Date.now() > end) {
            const who = 'another stillfs has it, or one that ended is still letting go of it';
            throw new StillError('EBUSY', `guest ${guest} can't be used: ${who} (${path} is locked)`);
          }
        }
        await delay(retryMilliseconds, undefined, { signal });
      }
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** To be inherited by keepers. */
  get lock(): number {
    return this.file.fd;
  }

  /** Lets the folder go, as far as this process has it. */
  async close(): Promise<void> {
    await this.file.close();
  }
}
