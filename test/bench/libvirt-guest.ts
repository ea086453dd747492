import { once } from 'node:events';
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ServedMount } from '../e2e/served-mount.js';
import { guestImage } from '../machine/guest-image.js';
import { GuestShell } from '../machine/guest-shell.js';
import { kernelParameters } from '../machine/machine.js';
import { modulesOfBus } from '../machine/machine-disk.js';
import { Libvirt } from './libvirt.js';
import type { Running } from './mounts.js';

/** What libvirt calls the machine. */
export const domain = 'bench';
/** The disk's serial number, by which the guest finds it. */
const serial = 'data';

/** The tests' guest, run by libvirt, with one qcow2 disk; stillfs shows it as guest 100. So tools of both kinds back up the same. */
export class LibvirtGuest extends ServedMount {
  readonly disk: string;
  readonly state: string;
  #libvirt: Libvirt | undefined;
  #machine: Running | undefined;
  #shell: GuestShell | undefined;

  private constructor(folder: string) {
    super(folder);
    this.disk = join(folder, 'disk.qcow2');
    this.state = join(folder, 'state');
  }

  /** Has the disk made at a path, boots the machine, and mounts. */
  static async make(makeDisk: (path: string) => Promise<void>): Promise<LibvirtGuest> {
    const made = new LibvirtGuest(await mkdtemp(join(tmpdir(), 'stillfs-libvirt-')));
    try {
      for (const folder of [made.mountpoint, made.#fleecing]) await mkdir(folder);
      await makeDisk(made.disk);
      await made.#boot();
      const guest = `id=100,qmp=${made.#monitor},fleecing=${made.#fleecing}`;
      await made.serve(['--state', made.state, '--guest', guest]);
      return made;
    } catch (error) {
      await made.remove();
      throw error;
    }
  }

  get libvirt(): Libvirt {
    if (!this.#libvirt) throw new Error('libvirt does not run');
    return this.#libvirt;
  }

  get #fleecing(): string {
    return join(this.folder, 'fleecing');
  }

  get #monitor(): string {
    return join(this.folder, 'qmp.sock');
  }

  /** Has the guest write noise to its disk: so many bytes at a time, so many times, each so far behind the one before. */
  async write(bytes: number, times: number, stride: number): Promise<void> {
    if (stride % bytes !== 0) throw new Error('what lies apart begins at a multiple of its length');
    const once = `dd if=/run/noise of=/dev/disk/${serial} bs=${bytes} count=1 seek=$((i * ${stride / bytes}))`;
    const { status, output } = await this.#run(
      `i=0; while [ $i -lt ${times} ]; do ${once} oflag=direct conv=notrunc status=none || exit 1; i=$((i + 1)); done`,
    );
    if (status !== 0) throw new Error(`the guest could not write: ${output}`);
  }

  /** Pulls the guest's plug, and ends all that served it. Its disk stays. */
  async powerOff(): Promise<void> {
    await this.end();
    if (this.#machine) {
      // It may have ended by itself: what failed then says so.
      await this.#libvirt?.run('virsh', 'destroy', domain).catch(() => undefined);
      await this.#machine.stop();
      this.#machine = undefined;
    }
    await this.#libvirt?.stop();
    this.#libvirt = undefined;
  }

  override async remove(): Promise<void> {
    await this.powerOff();
    await super.remove();
  }

  async #boot(): Promise<void> {
    this.#libvirt = await Libvirt.start(join(this.folder, 'libvirt'));
    const shell = join(this.folder, 'shell.sock');
    const description = join(this.folder, 'domain.xml');
    await writeFile(description, await domainXml({ disk: this.disk, shell, monitor: this.#monitor }));
    this.#machine = await this.#libvirt.startMachine(description, shell);
    const socket = connect(shell);
    await once(socket, 'connect');
    this.#shell = new GuestShell(socket);
    await this.#shell.ready;
    await this.#run('head -c 1048576 /dev/urandom >/run/noise');
  }

  #run(commandLine: string): ReturnType<GuestShell['run']> {
    if (!this.#shell) throw new Error('the guest does not run');
    return this.#shell.run(commandLine);
  }
}

/** A machine like that of the tests. Its kernel is QEMU's matter alone: virtnbdbackup would store it with each backup. */
async function domainXml(paths: { disk: string; shell: string; monitor: string }): Promise<string> {
  const { kernel, initramfs } = await guestImage();
  const modules = ['virtio_pci', 'virtio_console', ...modulesOfBus['virtio-blk']];
  const commandLine = [...kernelParameters, `modules=${modules.join()}`, `disks=${serial}`].join(' ');
  const args = [
    ...['-bios', 'qboot.rom', '-kernel', kernel, '-initrd', initramfs, '-append', commandLine],
    ...['-chardev', `socket,id=stillfs,path=${paths.monitor},server=on,wait=off`],
    ...['-mon', 'chardev=stillfs,mode=control'],
  ];
  return `<domain type="qemu" xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0">
  <name>${domain}</name>
  <memory unit="MiB">192</memory>
  <os><type arch="x86_64" machine="pc">hvm</type></os>
  <cpu mode="custom" match="exact"><model>qemu64</model><feature policy="require" name="rdrand"/></cpu>
  <devices>
    <disk type="file" device="disk">
      <driver name="qemu" type="qcow2" discard="unmap"/>
      <source file="${paths.disk}"/>
      <target dev="vda" bus="virtio"/>
      <serial>${serial}</serial>
    </disk>
    <controller type="usb" model="none"/>
    <memballoon model="none"/>
    <channel type="unix"><source mode="bind" path="${paths.shell}"/><target type="virtio" name="shell"/></channel>
  </devices>
  <qemu:commandline>${args.map((arg) => `<qemu:arg value="${arg}"/>`).join('')}</qemu:commandline>
</domain>
`;
}
