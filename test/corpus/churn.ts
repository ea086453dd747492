import {
  closeSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  rmdirSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { hasCode } from '../../src/errors.js';
import { systemCall } from '../../src/posix/call.js';
import { setXattr } from './odd-calls.js';
import { numbers } from './qcow2-images.js';

const fallocate = systemCall('int fallocate(int descriptor, int mode, int64_t offset, int64_t length)');
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const FALLOC_FL_ZERO_RANGE = 16;
const ioctl = systemCall('int ioctl(int descriptor, uint64_t request, int source)');
/** linux/fs.h: shares the blocks of another file. */
const FICLONE = 0x40049409n;

const mostFolders = 40;
const mostFiles = 600;

/** What a churn does, as often as it stands here. */
const deeds = [
  ...['create', 'create', 'create', 'create', 'write', 'write', 'write', 'write', 'append', 'append'],
  ...['truncate', 'punch', 'punch', 'zero', 'allocate', 'rename', 'rename', 'link', 'unlink', 'unlink'],
  ...['attribute', 'attribute', 'symlink', 'mkdir', 'rmdir', 'clone'],
] as const;

/**
 * Changes a folder again and again, the same way for the same seed: files, links and folders come and go, files grow, shrink
 * and get holes. What a file system can't do (share blocks) is passed over.
 */
export class Churn {
  readonly #root: string;
  readonly #random: () => number;
  readonly #folders: string[] = [''];
  #files: string[] = [];
  #made = 0;

  constructor(root: string, seed: number) {
    this.#root = root;
    this.#random = numbers(seed);
  }

  run(deedsToDo: number): void {
    for (let left = deedsToDo; left > 0; left--) this.#step();
  }

  #step(): void {
    const deed = deeds[this.#below(deeds.length)] ?? 'create';
    try {
      this.#do(deed);
    } catch (error) {
      const passed = ['ENOTEMPTY', 'EOPNOTSUPP', 'EINVAL', 'EMLINK', 'ENOSPC', 'E2BIG'] as const;
      if (!passed.some((code) => hasCode(error, code))) throw error;
    }
  }

  #do(deed: (typeof deeds)[number]): void {
    const file = this.#files[this.#below(Math.max(this.#files.length, 1))];
    if (deed === 'create' || file === undefined) {
      this.#create();
      return;
    }
    const path = join(this.#root, file);
    switch (deed) {
      case 'write':
        this.#at(path, (descriptor) => this.#write(descriptor, this.#below(400_000)));
        break;
      case 'append':
        this.#at(path, (descriptor) => this.#write(descriptor, null));
        break;
      case 'truncate':
        truncateSync(path, this.#below(300_000));
        break;
      case 'punch':
        this.#reserve(path, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
        break;
      case 'zero':
        this.#reserve(path, FALLOC_FL_ZERO_RANGE);
        break;
      case 'allocate':
        this.#reserve(path, this.#below(2) === 0 ? FALLOC_FL_KEEP_SIZE : 0);
        break;
      case 'rename': {
        const to = this.#newName();
        renameSync(path, join(this.#root, to));
        this.#files = this.#files.map((each) => (each === file ? to : each));
        break;
      }
      case 'link': {
        const to = this.#newName();
        linkSync(path, join(this.#root, to));
        this.#files.push(to);
        break;
      }
      case 'unlink':
        unlinkSync(path);
        this.#files = this.#files.filter((each) => each !== file);
        return;
      case 'attribute': {
        const value = Buffer.alloc(this.#below(8) === 0 ? this.#below(30_000) : this.#below(200), this.#made);
        setXattr(Buffer.from(path), `user.${'n'.repeat(this.#below(30))}${this.#below(6)}`, value);
        break;
      }
      case 'symlink':
        symlinkSync('t'.repeat(1 + this.#below(600)), join(this.#root, this.#newName()));
        break;
      case 'mkdir': {
        if (this.#folders.length > mostFolders) return;
        const name = join(this.#folder(), `folder-${this.#made++}`);
        mkdirSync(join(this.#root, name));
        this.#folders.push(name);
        break;
      }
      case 'rmdir': {
        const name = this.#folder();
        if (name === '') return;
        rmdirSync(join(this.#root, name));
        this.#folders.splice(this.#folders.indexOf(name), 1);
        break;
      }
      case 'clone':
        this.#clone(path);
        break;
    }
  }

  #create(): void {
    if (this.#files.length > mostFiles) return;
    const name = this.#newName();
    const descriptor = openSync(join(this.#root, name), 'wx', 0o600 + this.#below(64));
    try {
      if (this.#below(4) === 0) ftruncateSync(descriptor, this.#below(1_000_000));
      if (this.#below(5) > 0) this.#write(descriptor, 0);
    } finally {
      closeSync(descriptor);
    }
    this.#files.push(name);
  }

  #clone(path: string): void {
    const name = this.#newName();
    const target = openSync(join(this.#root, name), 'wx');
    this.#files.push(name);
    try {
      this.#at(path, (source) => ioctl.now(path, target, FICLONE, source));
    } finally {
      closeSync(target);
    }
  }

  #reserve(path: string, mode: number): void {
    const offset = this.#below(300_000);
    this.#at(path, (descriptor) => fallocate.now(path, descriptor, mode, offset, 1 + this.#below(100_000)));
  }

  /** Writes at an offset; null: behind the end. */
  #write(descriptor: number, offset: number | null): void {
    const length = this.#below(10) === 0 ? this.#below(200_000) : this.#below(9000);
    writeSync(descriptor, Buffer.alloc(length, 1 + this.#below(255)), 0, length, offset);
  }

  #at(path: string, use: (descriptor: number) => unknown): void {
    const descriptor = openSync(path, 'r+');
    try {
      use(descriptor);
    } finally {
      closeSync(descriptor);
    }
  }

  #newName(): string {
    return join(this.#folder(), `${this.#made++}-${'f'.repeat(this.#below(60))}`);
  }

  #folder(): string {
    return this.#folders[this.#below(this.#folders.length)] ?? '';
  }

  #below(limit: number): number {
    return this.#random() % limit;
  }
}
