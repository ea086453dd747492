import { appendFile, copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { exists, type Running, start } from './mounts.js';

/** Where libvirt keeps its things, each of which is a folder of ours instead. */
const places = {
  configuration: '/etc/libvirt',
  state: '/var/lib/libvirt',
  sockets: '/run/libvirt',
  cache: '/var/cache/libvirt',
  logs: '/var/log/libvirt',
};

// QEMU runs as we do, and is hindered in nothing: it shares files and sockets with stillfs.
const qemuConfiguration = `user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
`;

/** `setpriv` has the program end when we do, however that comes. */
const withUs = ['--pdeathsig=TERM'];

/**
 * A libvirtd in a mount namespace of its own: it sees nothing of the host's libvirt, and the host nothing of it, but both the same
 * images. Programs that talk to it are run in there.
 */
export class Libvirt {
  private constructor(private readonly daemon: Running) {}

  static async start(folder: string): Promise<Libvirt> {
    for (const name of Object.keys(places)) await mkdir(join(folder, name), { recursive: true });
    await writeFile(join(folder, 'configuration', 'qemu.conf'), qemuConfiguration);
    await writeFile(
      join(folder, 'configuration', 'libvirtd.conf'),
      `auth_unix_rw = "none"\nauth_unix_ro = "none"\nlog_outputs = "3:file:${folder}/logs/libvirtd.log"\n`,
    );
    // Debian's libvirt looks for this user before it reads that it needs none.
    for (const name of ['passwd', 'group']) await copyFile(join('/etc', name), join(folder, name));
    await appendFile(join(folder, 'passwd'), 'libvirt-qemu:x:0:0::/:/bin/false\n');
    await appendFile(join(folder, 'group'), 'libvirt-qemu:x:0:\nkvm:x:0:\n');
    const binds = [
      ...Object.entries(places).map(
        ([name, place]) => `mkdir -p ${place} && mount --bind "$0/${name}" ${place}`,
      ),
      ...['passwd', 'group'].map((name) => `mount --bind "$0/${name}" /etc/${name}`),
      'exec libvirtd --pid-file "$0/libvirtd.pid"',
    ];
    const socket = join(folder, 'sockets', 'libvirt-sock');
    const args = [...withUs, 'unshare', '--mount', 'sh', '-c', binds.join(' && '), folder];
    return new Libvirt(await start('setpriv', args, socket, () => exists(socket)));
  }

  /** Runs a program to its end where it finds this libvirt. */
  async run(program: string, ...args: readonly string[]): Promise<void> {
    await execa('nsenter', [this.#namespace, program, ...args]);
  }

  /** Starts a machine by its description, which makes a socket. It ends with what is given back, or with us. */
  startMachine(description: string, socket: string): Promise<Running> {
    // libvirt ends the machine when the connection ends through which it was started.
    const commands = `create --autodestroy ${description}; event --loop --all`;
    const args = [...withUs, 'nsenter', this.#namespace, 'virsh', commands];
    return start('setpriv', args, socket, () => exists(socket));
  }

  get #namespace(): string {
    return `--mount=/proc/${this.daemon.pid}/ns/mnt`;
  }

  stop(): Promise<void> {
    return this.daemon.stop();
  }
}
