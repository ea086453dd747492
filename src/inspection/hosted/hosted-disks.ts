import { MessageChannel, type MessagePort, type Worker } from 'node:worker_threads';
import type { Disk } from '../../disks/disk.js';
import { serveDisk } from '../../disks/port/serve-disk.js';
import { StillError } from '../../errors.js';
import type { Name } from '../../name.js';
import { text } from '../../port/fields.js';
import { WaitingWorker } from '../../port/waiting-worker.js';
import { WorkerService } from '../../port/worker-service.js';
import { PortTrees } from '../../tree/port/port-trees.js';
import type { Tree } from '../../tree/tree.js';
import { type FoundVolume, volumeText } from '../found-volume.js';
import type { GuestSystem } from '../guest-system.js';
import { type DiskTask, type InspectionRequest, parseSystem, parseVolumes } from './messages.js';

/** The heap of the worker of a guest's disks, MiB. Caches lie in buffers, which have limits of their own. */
const memoryLimit = 512;
/** Seconds that it may be silent. What it does at a stretch takes milliseconds. */
const mostSilence = 20;

export interface InspectedDisk {
  readonly name: Name;
  readonly disk: Disk;
}

export interface HostedDisksOptions {
  /** What stands for the guest in errors: the path of its backup or snapshot. */
  readonly name: string;
  readonly disks: readonly InspectedDisk[];
  /** Called with each sentence about what can't be shown; some come only as more is read. */
  readonly problem: (sentence: string) => void;
  /** Called once, when nothing is read from the disks any more. */
  readonly ended: () => void;
}

/** Starts workers that look into disks, one of them ahead of time. */
export class InspectionHost {
  readonly #waiting = new WaitingWorker(new URL('./inspection-worker.js', import.meta.url), memoryLimit);

  /** Says that disks may soon be looked into: to start a worker takes longer than that. */
  prepare(): void {
    this.#waiting.prepare();
  }

  /** Looks into the disks of a guest. A worker that dies is EIO for this guest alone. */
  async open(options: HostedDisksOptions, signal: AbortSignal): Promise<HostedDisks> {
    const hosted = new HostedDisks(this.#waiting.take(), options);
    try {
      await hosted.look(signal);
      return hosted;
    } catch (error) {
      await hosted.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#waiting.close();
  }
}

/** A guest's disks that a worker of their own looks into, so that what a guest wrote can neither hold up nor take down the rest. */
export class HostedDisks {
  readonly #worker: WorkerService;
  readonly #trees: PortTrees;
  readonly #disks: readonly DiskTask[];
  readonly #ports: readonly MessagePort[];
  readonly #told = new MessageChannel();
  readonly #ended: () => void;
  #volumes: readonly FoundVolume[] = [];
  #system: Promise<GuestSystem> | undefined;

  constructor(worker: Worker, { name, disks, problem, ended }: HostedDisksOptions) {
    this.#worker = new WorkerService({
      name: `the disks of ${name}`,
      worker,
      silence: mostSilence,
      awaited: () => this.#trees.awaited,
      failed: (reason) => this.#trees.break(reason),
    });
    this.#trees = new PortTrees(this.#worker);
    this.#ended = ended;
    const channels = disks.map(({ disk }) => {
      const channel = new MessageChannel();
      serveDisk(disk, channel.port1);
      return channel;
    });
    this.#ports = channels.map(({ port1 }) => port1);
    this.#disks = disks.map(({ name: diskName, disk }, index): DiskTask => {
      const channel = channels[index] ?? new MessageChannel();
      const facts = { size: disk.size, name: `${name}/disks/${diskName}`, descriptor: disk.passthrough };
      return { name: diskName, port: channel.port2, facts };
    });
    this.#told.port1.on('message', (sentence: unknown) => problem(text(sentence, 'sentence')));
  }

  /** What there is on the disks. */
  get volumes(): readonly FoundVolume[] {
    return this.#volumes;
  }

  /** Looks into the disks: to be called once, before anything else. */
  async look(signal: AbortSignal): Promise<void> {
    const ports = [...this.#disks.map(({ port }) => port), this.#told.port2];
    const request: InspectionRequest = { kind: 'open', disks: this.#disks, told: this.#told.port2 };
    this.#volumes = parseVolumes(await this.#worker.ask(request, ports, signal));
  }

  /** How the guest's own system puts its file systems together. */
  system(): Promise<GuestSystem> {
    const request: InspectionRequest = { kind: 'system' };
    // Whoever waits may leave; the next one will want to know, too.
    this.#system ??= this.#worker
      .ask(request, [], new AbortController().signal)
      .then(parseSystem)
      .catch((error: unknown) => {
        // What could not be read now may be read later.
        this.#system = undefined;
        throw error;
      });
    return this.#system;
  }

  /** The tree of a volume's file system; `closed` is called when it is closed. ENOENT: it holds none. */
  async tree(path: readonly Name[], closed: () => void, signal: AbortSignal): Promise<Tree> {
    const volume = this.#volumes.findIndex((found) => found.path.join('/') === path.join('/'));
    if (volume === -1) throw new StillError('ENOENT', `there is no volume ${volumeText({ path })}`);
    const { port1, port2 } = new MessageChannel();
    const served = this.#trees.adopt(port1, closed);
    served.catch(() => undefined);
    try {
      const request: InspectionRequest = { kind: 'tree', volume, port: port2 };
      await this.#worker.ask(request, [port2], signal);
      return await served;
    } catch (error) {
      port1.close();
      throw error;
    }
  }

  /** Ends the worker; the disks may be closed then. */
  async close(): Promise<void> {
    await this.#worker.end();
    for (const port of this.#ports) port.close();
    this.#told.port1.close();
    this.#ended();
  }
}
