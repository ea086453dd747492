import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CommandSocket } from './command-socket.js';
import { type GuestAdditions, guestImage } from './guest-image.js';
import { type CommandResult, GuestShell } from './guest-shell.js';
import { diskArguments, type MachineDisk, modulesOfBus } from './machine-disk.js';

export interface MachineOptions {
  readonly disks?: readonly MachineDisk[];
  /** A command that gets QEMU's whole command line, adds disks to it, and runs it. */
  readonly launcher?: {
    readonly command: readonly string[];
    /** The ids of the disks that it adds, all of them virtio-blk. */
    readonly disks: readonly string[];
  };
  /** Whether a guest agent runs in it. Default: it does. */
  readonly agent?: boolean;
  readonly memoryMebibytes?: number;
  /** Whether the guest is booted, and waited for. Otherwise it stands before its first instruction. Default: true. */
  readonly running?: boolean;
  readonly qemuArguments?: readonly string[];
  readonly additions?: GuestAdditions;
}

/** How QEMU ended. */
export interface MachineEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** What it wrote to its standard error: a failed assertion, for one. */
  readonly errors: string;
}

// A boot takes two or three seconds; a busy machine may need many times that.
const bootMilliseconds = 60_000;

// What takes an emulated processor long, and a test has no use for: to measure the clock, to test ciphers, to rewrite the
// kernel for one processor, to gather randomness (mke2fs waits for that).
export const kernelParameters = [
  ...[
    'console=ttyS0',
    'quiet',
    'panic=-1',
    'nokaslr',
    'mitigations=off',
    'noreplace-smp',
    'cryptomgr.notests',
  ],
  ...['tsc=reliable', 'no_timer_check', 'lpj=1000000', 'random.trust_cpu=on'],
];

/** A virtual machine of QEMU's with a real Linux in it, which ends with the process that started it. */
export class Machine {
  readonly #process: ChildProcess;
  readonly #shell: GuestShell;
  readonly #hasAgent: boolean;
  #monitor: CommandSocket | undefined;
  #errors = '';

  /** QEMU's monitor for stillfs, a Unix socket. The tests have one of their own: `qmp`. */
  readonly qmpPath: string;
  /** The guest agent's Unix socket. */
  readonly agentPath: string;
  /** Settles when QEMU has ended, however that came. */
  readonly ended: Promise<MachineEnd>;

  private constructor(
    /** A temporary folder for all that has to do with this machine; `remove` empties it. */
    readonly folder: string,
    image: { readonly kernel: string; readonly initramfs: string },
    options: MachineOptions,
  ) {
    this.qmpPath = join(folder, 'qmp.sock');
    this.agentPath = join(folder, 'agent.sock');
    const {
      disks = [],
      agent = true,
      memoryMebibytes = 192,
      running = true,
      qemuArguments = [],
      launcher,
    } = options;
    this.#hasAgent = agent;
    const buses = new Set(
      [...disks, ...(launcher?.disks.map(() => ({})) ?? [])].flatMap(
        ({ bus = 'virtio-blk' }: Pick<MachineDisk, 'bus'>) => modulesOfBus[bus],
      ),
    );
    const modules = [...buses, ...(options.additions?.modules ?? [])];
    // The kernel gives what it does not know itself to init, as environment variables.
    const environment = [
      `modules=${['virtio_pci', 'virtio_console', ...modules].join()}`,
      `disks=${[...disks.map(({ id }) => id), ...(launcher?.disks ?? [])].join()}`,
      ...(agent ? ['agent=yes'] : []),
    ];
    const agentArguments = [
      ...['-chardev', `socket,id=agent,path=${this.agentPath},server=on,wait=off`],
      ...['-device', 'virtserialport,id=agent,chardev=agent,name=org.qemu.guest_agent.0'],
    ];
    const args = [
      '--pdeathsig=KILL',
      ...(launcher ? [...launcher.command, 'setpriv', '--pdeathsig=KILL'] : []),
      'qemu-system-x86_64',
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
      ...[
        '-machine',
        'pc',
        '-bios',
        'qboot.rom',
        '-accel',
        'tcg',
        '-cpu',
        'qemu64,+rdrand',
        '-m',
        String(memoryMebibytes),
      ],
      ...['-kernel', image.kernel, '-initrd', image.initramfs],
      ...['-append', [...kernelParameters, ...environment].join(' ')],
      ...['-chardev', `file,id=console,path=${join(folder, 'console.log')}`, '-serial', 'chardev:console'],
      ...['-chardev', 'socket,id=tests,fd=3', '-mon', 'chardev=tests,mode=control'],
      ...['-chardev', `socket,id=qmp,path=${this.qmpPath},server=on,wait=off`],
      ...['-mon', 'chardev=qmp,mode=control'],
      ...['-device', 'virtio-serial'],
      ...['-chardev', 'socket,id=shell,fd=4', '-device', 'virtserialport,chardev=shell,name=shell'],
      ...(agent ? agentArguments : []),
      ...diskArguments(disks),
      ...(running ? [] : ['-S']),
      ...qemuArguments,
    ];
    this.#process = spawn('setpriv', args, {
      // For a core, should there be one.
      cwd: folder,
      stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'],
    });
    this.#process.stderr?.on('data', (chunk: Buffer) => {
      this.#errors += chunk.toString('utf8');
    });
    this.ended = new Promise((resolve) => {
      this.#process.on('close', (code, signal) => resolve({ code, signal, errors: this.#errors }));
      this.#process.on('error', (error) => resolve({ code: null, signal: null, errors: error.message }));
    });
    this.#shell = new GuestShell(this.#socket(4));
  }

  /** Starts a machine and resolves when its guest takes commands. */
  static async start(options: MachineOptions = {}): Promise<Machine> {
    const image = await guestImage(options.additions);
    const machine = new Machine(await mkdtemp(join(tmpdir(), 'stillfs-machine-')), image, options);
    try {
      await machine.#started(async () => {
        machine.#monitor = await CommandSocket.monitor(machine.#socket(3));
        if (options.running ?? true) await machine.#booted();
      });
      return machine;
    } catch (error) {
      await machine.remove();
      throw error;
    }
  }

  get pid(): number {
    const { pid } = this.#process;
    if (pid === undefined) throw new Error('QEMU was not started');
    return pid;
  }

  /** What QEMU has written to its standard error so far. */
  get errors(): string {
    return this.#errors;
  }

  /** What the guest's kernel and init have written to the console. */
  console(): Promise<string> {
    return readFile(join(this.folder, 'console.log'), 'utf8');
  }

  /** Runs a command line in the guest's shell (busybox). Several may run at a time. */
  run(commandLine: string): Promise<CommandResult> {
    return this.#shell.run(commandLine);
  }

  /** The output of a command line in the guest; rejects where its exit status is not 0. */
  async output(commandLine: string): Promise<string> {
    const { output, status } = await this.run(commandLine);
    if (status !== 0) throw new Error(`${commandLine}: exit status ${status}: ${output}`);
    return output;
  }

  /** Gives a command to the tests' own monitor. */
  qmp(command: string, arguments_?: Readonly<Record<string, unknown>>): Promise<unknown> {
    return this.monitor.execute(command, arguments_);
  }

  /** The tests' own monitor, which has heard all events. */
  get monitor(): CommandSocket {
    if (!this.#monitor) throw new Error('the machine is not started');
    return this.#monitor;
  }

  /** Stops the guest's processors. */
  async pause(): Promise<void> {
    await this.qmp('stop');
  }

  /** Lets a guest go on that was paused, or started with `running: false`; resolves when it takes commands. */
  async resume(): Promise<void> {
    await this.qmp('cont');
    await this.#booted();
  }

  /** The guest unmounts its file systems and switches itself off. */
  async powerdown(): Promise<MachineEnd> {
    // The answer never comes.
    this.run('shutdown').catch(() => undefined);
    return this.ended;
  }

  /** Ends QEMU in order, but without a word to the guest: as when its plug is pulled. */
  async quit(): Promise<MachineEnd> {
    // QEMU may be gone before its answer is out.
    await this.qmp('quit').catch(() => undefined);
    return this.ended;
  }

  /** Ends QEMU as a crash would. */
  async kill(): Promise<MachineEnd> {
    this.#process.kill('SIGKILL');
    return this.ended;
  }

  /** Ends what is left of the machine and removes its folder. */
  async remove(): Promise<void> {
    await this.kill();
    await rm(this.folder, { recursive: true, force: true });
  }

  /** The guest takes commands, and its agent too. */
  async #booted(): Promise<void> {
    await this.#shell.ready;
    if (this.#hasAgent)
      await this.monitor.first('VSERPORT_CHANGE', ({ id, open }) => id === 'agent' && open === true);
  }

  async #started(steps: () => Promise<void>): Promise<void> {
    let late: NodeJS.Timeout | undefined;
    const failed = new Promise<never>((_, reject) => {
      const fail = async (what: string): Promise<void> => {
        const console = await this.console().catch(() => '');
        reject(new Error(`the machine ${what}: ${this.#errors.trim()} ${console.trim()}`));
      };
      late = setTimeout(() => void fail('has not booted'), bootMilliseconds);
      void this.ended.then(({ code, signal }) => fail(`ended too early (${signal ?? code})`));
    });
    failed.catch(() => undefined);
    const done = steps();
    done.catch(() => undefined);
    try {
      // The steps fail too when QEMU ends, but can't say why.
      await Promise.race([done.catch(() => failed), failed]);
    } finally {
      clearTimeout(late);
    }
  }

  #socket(descriptor: number): Socket {
    const socket = this.#process.stdio[descriptor];
    if (!(socket instanceof Socket)) throw new Error('QEMU has no such socket');
    return socket;
  }
}

/** The path of a disk in the guest. */
export function devicePath(id: string): string {
  return `/dev/disk/${id}`;
}
