import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect } from 'vitest';
import { isMounted } from '../e2e/command-line.js';
import { makeDisk } from '../machine/machine-disk.js';

const megabytes = 64;

/** A file system with a server of its own (fuse2fs), which can be made to hang: whoever asks it then waits. */
export class HangingServer {
  private constructor(
    readonly mountpoint: string,
    private readonly server: ChildProcess,
  ) {}

  /** `folder` is made. */
  static async start(folder: string): Promise<HangingServer> {
    const mountpoint = join(folder, 'mnt');
    await mkdir(mountpoint, { recursive: true });
    const image = join(folder, 'image');
    await makeDisk(image, megabytes * 2 ** 20, { filesystem: 'ext4' });
    const server = spawn('fuse2fs', ['-f', image, mountpoint], { stdio: 'ignore' });
    await expect.poll(() => isMounted(mountpoint), { timeout: 10_000, interval: 10 }).toBe(true);
    return new HangingServer(mountpoint, server);
  }

  hang(): void {
    this.server.kill('SIGSTOP');
  }

  goOn(): void {
    this.server.kill('SIGCONT');
  }

  /** What waits for it, or comes to ask, gets an error from now on. The mount is gone when nobody has anything open there. */
  async giveUp(): Promise<void> {
    await execa('umount', ['-c', '-f', this.mountpoint], { reject: false });
  }

  /** Rejects where somebody has a file of it open. */
  async unmount(): Promise<void> {
    if (await isMounted(this.mountpoint)) await execa('umount', [this.mountpoint]);
  }

  /** Ends it, hanging or not, whoever still uses it. */
  async remove(): Promise<void> {
    await this.giveUp();
    if (await isMounted(this.mountpoint)) await execa('umount', ['-c', '-l', this.mountpoint]);
    if (this.server.exitCode !== null || this.server.signalCode !== null) return;
    const ended = once(this.server, 'exit');
    this.server.kill('SIGKILL');
    await ended;
  }
}
