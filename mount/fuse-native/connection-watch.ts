import { readdirSync, readlinkSync } from 'node:fs';

/** Milliseconds between two looks: as a rule, and for a while after something was done to end the mount. */
const usualInterval = 1000;
const hurriedInterval = 20;
const hurriedLooks = 250;

const descriptors = '/proc/self/fd';

/** The descriptors of /dev/fuse that this process has open. (What /proc tells of ourselves never waits for anybody.) */
export function fuseDescriptors(): number[] {
  return readdirSync(descriptors).map(Number).filter(isFuseDevice);
}

function isFuseDevice(descriptor: number): boolean {
  try {
    return readlinkSync(`${descriptors}/${descriptor}`) === '/dev/fuse';
  } catch {
    // It was closed since.
    return false;
  }
}

/**
 * Sees when a mount has ended, whoever ended it. The package tells nobody; but when the kernel has ended the
 * connection and the last operation is answered, libfuse closes its descriptor of /dev/fuse. Nothing wakes who waits
 * for that, so a timer looks now and then; it does not keep the process alive.
 */
export class ConnectionWatch {
  readonly ended: Promise<void>;
  readonly #descriptor: number;
  #settle: () => void = () => undefined;
  #timer: NodeJS.Timeout | undefined;
  #hurried = 0;
  #over = false;

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
    this.ended = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.#sleep();
  }

  get over(): boolean {
    return this.#over;
  }

  /** Looks often for some seconds: the mount is about to end. */
  hurry(): void {
    if (this.#over) return;
    this.#hurried = hurriedLooks;
    this.#look();
  }

  /** Takes the mount for ended, though somebody may still have the connection open. */
  stop(): void {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#settle();
  }

  #sleep(): void {
    const interval = this.#hurried > 0 ? hurriedInterval : usualInterval;
    this.#timer = setTimeout(() => this.#look(), interval).unref();
  }

  #look(): void {
    clearTimeout(this.#timer);
    if (!isFuseDevice(this.#descriptor)) {
      this.stop();
      return;
    }
    if (this.#hurried > 0) this.#hurried--;
    this.#sleep();
  }
}
