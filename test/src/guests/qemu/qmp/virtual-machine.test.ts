import { closeSync, ftruncateSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { queryBlock } from '../../../../../src/guests/qemu/qmp/commands/block-devices.js';
import {
  blockdevAdd,
  blockdevDel,
  queryNamedBlockNodes,
} from '../../../../../src/guests/qemu/qmp/commands/block-nodes.js';
import {
  addBitmap,
  disableBitmap,
  enableBitmap,
  mergeBitmaps,
  removeBitmap,
  transaction,
} from '../../../../../src/guests/qemu/qmp/commands/dirty-bitmaps.js';
import {
  addNbdExport,
  deleteExport,
  queryBlockExports,
} from '../../../../../src/guests/qemu/qmp/commands/exports.js';
import { startNbdServer, stopNbdServer } from '../../../../../src/guests/qemu/qmp/commands/nbd-server.js';
import { qomSet } from '../../../../../src/guests/qemu/qmp/commands/object-tree.js';
import {
  closeNamed,
  descriptorSetPath,
  passIntoSet,
  passNamed,
  queryDescriptorSets,
  removeSet,
} from '../../../../../src/guests/qemu/qmp/commands/passed-descriptors.js';
import { cont, queryStatus, stop } from '../../../../../src/guests/qemu/qmp/commands/run-state.js';
import { QmpConnection } from '../../../../../src/guests/qemu/qmp/connection.js';
import { QmpSchema } from '../../../../../src/guests/qemu/qmp/schema.js';
import { receiveDescriptor, socketPair } from '../../../../../src/posix/received-descriptor.js';
import { sendDescriptors } from '../../../../../src/posix/send-descriptor.js';
import { listeningUnixSocket } from '../../../../../src/posix/unix-socket.js';
import { type RunningQemu, startVirtualMachine } from './running-qemu.js';

const guest = 'guest 100';
const diskBytes = 4 * 1024 * 1024;
const disks = ['disk0', 'disk1'] as const;
const qomPath = '/machine/peripheral/virtio0/virtio-backend';

let folder: string;
let machine: RunningQemu;
let qmp: QmpConnection;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'stillfs-disks-'));
  const blockdevs: string[] = [];
  for (const disk of disks) {
    const file = join(folder, disk);
    await execa('qemu-img', ['create', '-q', '-f', 'qcow2', file, String(diskBytes)]);
    blockdevs.push('-blockdev', `driver=qcow2,node-name=${disk},file.driver=file,file.filename=${file}`);
  }
  const device = 'virtio-blk-pci,id=virtio0,drive=disk0';
  machine = await startVirtualMachine('-machine', 'q35', '-m', '32', ...blockdevs, '-device', device);
});
afterAll(async () => {
  await rm(folder, { recursive: true });
  await machine.stop();
});

async function connected(): Promise<QmpConnection> {
  qmp = await QmpConnection.connect(machine.monitor, guest);
  return qmp;
}
afterEach(() => qmp.close());

/** Writes as the guest would: to a device, by its path, or to a node that none uses. */
async function write(target: string, offset: number, length: number): Promise<void> {
  const line = `qemu-io ${target} "write ${offset} ${length}"`;
  const said = await qmp.execute('human-monitor-command', { 'command-line': line }, z.string());
  expect(said).toBe('');
}

async function bitmaps(disk: string): Promise<Record<string, [bytes: number, recording: boolean]>> {
  const node = (await queryNamedBlockNodes(qmp)).find(({ name }) => name === disk);
  const found = node?.bitmaps.map(({ name, dirtyBytes, recording }) => [name, [dirtyBytes, recording]]);
  return Object.fromEntries(found ?? []);
}

describe('the monitor of a virtual machine', () => {
  it('serves one client at a time, and the next when that has left', async () => {
    await connected();
    expect(qmp.version).toMatch(/^\d+\.\d+\.\d+/);
    await expect(
      QmpConnection.connect(machine.monitor, guest, { deadlineMilliseconds: 50 }),
    ).rejects.toMatchObject({ code: 'EBUSY' });
    const next = QmpConnection.connect(machine.monitor, guest);
    qmp.close();
    await (await next)
      .execute('query-version', undefined, z.unknown())
      .finally(async () => (await next).close());
  });

  it('stops and goes on, and tells of it', async () => {
    await connected();
    const resumed = qmp.waitFor('RESUME', () => true);
    await cont(qmp);
    await resumed;
    expect(await queryStatus(qmp)).toEqual({ status: 'running', running: true });
    const stopped = qmp.waitFor('STOP', () => true);
    await stop(qmp);
    await stopped;
    expect(await queryStatus(qmp)).toMatchObject({ running: false });
  });

  it('names the guest, the command and QEMU`s reason when it refuses', async () => {
    await connected();
    await expect(blockdevDel(qmp, 'nothing')).rejects.toMatchObject({
      errorClass: 'GenericError',
      message: expect.stringMatching(/^QEMU of guest 100 refused blockdev-del: .*nothing/),
    });
    await expect(qmp.execute('fly', undefined, z.unknown())).rejects.toMatchObject({ code: 'EOPNOTSUPP' });
  });

  it('can be taken over in the middle of a command and of an answer', async () => {
    await connected();
    const [here, there] = socketPair();
    sendDescriptors(here, Buffer.from('x'), [qmp.descriptor]);
    const inherited = await receiveDescriptor(there);
    if (inherited === undefined) throw new Error('no descriptor came');
    closeSync(here);
    closeSync(there);
    const lost = qmp.execute('query-qmp-schema', undefined, z.unknown());
    await expect(
      qmp.execute('query-status', undefined, z.unknown(), { deadlineMilliseconds: 1 }),
    ).rejects.toBeDefined();
    writeSync(inherited, '{"execute": "query-sta');
    qmp.close();
    await lost.catch(() => undefined);
    qmp = QmpConnection.takeOver(inherited, guest);
    expect(await queryStatus(qmp)).toMatchObject({ running: false });
  });
});

describe('the schema of a virtual machine`s QEMU', () => {
  it('tells commands, events, arguments and values, those of branches too', async () => {
    const schema = await QmpSchema.of(await connected());
    expect(['blockdev-add', 'fly'].map((command) => schema.hasCommand(command))).toEqual([true, false]);
    expect(['BLOCK_EXPORT_DELETED', 'FLOWN'].map((event) => schema.hasEvent(event))).toEqual([true, false]);
    for (const argument of [
      'on-cbw-error',
      'cbw-timeout',
      'bitmap',
      'bitmap.node',
      'node-name',
      'file.filename',
    ]) {
      const branches = { driver: 'copy-before-write' };
      expect([argument, schema.hasArgument('blockdev-add', argument, branches)]).toEqual([argument, true]);
    }
    expect(schema.hasArgument('blockdev-add', 'cbw-timeout', { driver: 'snapshot-access' })).toBe(false);
    expect(schema.hasArgument('blockdev-add', 'cbw-timeout')).toBe(true);
    expect(schema.hasArgument('blockdev-add', 'node-name', { driver: 'no-such-driver' })).toBe(false);
    expect(schema.hasArgument('blockdev-add', 'file.server', { 'file.driver': 'nbd' })).toBe(true);
    expect(schema.hasArgument('blockdev-add', 'file.server', { 'file.driver': 'file' })).toBe(false);
    expect(
      schema.hasArgument('blockdev-reopen', 'options.bitmap', { 'options.driver': 'copy-before-write' }),
    ).toBe(true);
    expect(schema.hasArgument('nbd-server-start', 'addr.data.str', { 'addr.type': 'fd' })).toBe(true);
    expect(schema.hasArgument('nbd-server-start', 'addr.data.str', { 'addr.type': 'unix' })).toBe(false);
    expect(schema.hasArgument('block-export-add', 'bitmaps.node', { type: 'nbd' })).toBe(true);
    expect(schema.hasArgument('blockdev-add', `${'file.'.repeat(20)}driver`)).toBe(true);
    expect(schema.hasValue('blockdev-add', 'driver', 'snapshot-access')).toBe(true);
    expect(schema.hasValue('blockdev-add', 'driver', 'snapshot')).toBe(false);
    expect(schema.hasValue('transaction', 'actions.type', 'block-dirty-bitmap-merge')).toBe(true);
    expect(schema.hasArgument('stop', 'node-name')).toBe(false);
  });

  it('is asked for once on a connection', async () => {
    const schema = await QmpSchema.of(await connected());
    qmp.close();
    expect(await QmpSchema.of(qmp)).toBe(schema);
  });
});

describe('bitmaps of several disks', () => {
  afterEach(async () => {
    for (const disk of disks) {
      for (const name of Object.keys(await bitmaps(disk)))
        await transaction(qmp, [removeBitmap({ node: disk, name })]);
    }
  });

  it('are handed over at one instant, and united when the snapshot has failed', async () => {
    await connected();
    const all = <T>(of: (node: string) => T[]): T[] => disks.flatMap(of);
    await transaction(
      qmp,
      all((node) => [addBitmap({ node, name: 'stillfs:daily:1', persistent: true })]),
    );
    await write(`-d ${qomPath}`, 0, 65536);
    await transaction(
      qmp,
      all((node) => [
        addBitmap({ node, name: 'stillfs:daily:2', persistent: true }),
        disableBitmap({ node, name: 'stillfs:daily:1' }),
      ]),
    );
    await write(`-d ${qomPath}`, 1024 * 1024, 65536);
    expect(await bitmaps('disk0')).toEqual({
      'stillfs:daily:1': [65536, false],
      'stillfs:daily:2': [65536, true],
    });
    await transaction(
      qmp,
      all((node) => [
        enableBitmap({ node, name: 'stillfs:daily:1' }),
        mergeBitmaps({ node, target: 'stillfs:daily:1', bitmaps: ['stillfs:daily:2'] }),
        removeBitmap({ node, name: 'stillfs:daily:2' }),
      ]),
    );
    expect(await bitmaps('disk0')).toEqual({ 'stillfs:daily:1': [131072, true] });
    expect(await bitmaps('disk1')).toEqual({ 'stillfs:daily:1': [0, true] });
  });

  it('stay as they are when one of the changes fails', async () => {
    await connected();
    await transaction(qmp, [addBitmap({ node: 'disk0', name: 'a', persistent: true })]);
    const before = (await queryNamedBlockNodes(qmp)).map(({ name, bitmaps: of }) => ({ name, of }));
    await expect(
      transaction(qmp, [
        addBitmap({ node: 'disk0', name: 'b' }),
        disableBitmap({ node: 'disk0', name: 'a' }),
        removeBitmap({ node: 'disk1', name: 'none' }),
      ]),
    ).rejects.toMatchObject({ errorClass: 'GenericError' });
    expect((await queryNamedBlockNodes(qmp)).map(({ name, bitmaps: of }) => ({ name, of }))).toEqual(before);
  });
});

describe('a descriptor that is passed to a virtual machine`s QEMU', () => {
  it('can be opened in place of a file that has no name any more', async () => {
    await connected();
    const path = join(machine.folder, 'fleecing');
    const fleecing = openSync(path, 'wx+');
    ftruncateSync(fleecing, diskBytes);
    unlinkSync(path);
    const set = await passIntoSet(qmp, fleecing, { opaque: 'fleecing of disk0' });
    closeSync(fleecing);
    expect(await queryDescriptorSets(qmp)).toMatchObject([
      { id: set, descriptors: [{ opaque: 'fleecing of disk0' }] },
    ]);
    const file = { driver: 'file', filename: descriptorSetPath(set) } as const;
    await blockdevAdd(qmp, { driver: 'raw', 'node-name': 'fleecing', file });
    await write('fleecing', 0, diskBytes);
    const node = (await queryNamedBlockNodes(qmp)).find(({ name }) => name === 'fleecing');
    expect(node).toMatchObject({ driver: 'raw', readOnly: false, sizeBytes: diskBytes });
    await blockdevDel(qmp, 'fleecing');
    await removeSet(qmp, set);
  });

  it('goes with its own message, however much waits to be sent before it', async () => {
    await connected();
    const long = qmp.execute('qom-list', { path: `/${'x'.repeat(230_000)}` }, z.unknown());
    const passed = passNamed(qmp, 0, 'passed');
    await expect(long).rejects.toMatchObject({ errorClass: 'DeviceNotFound' });
    await passed;
    await closeNamed(qmp, 'passed');
    await expect(closeNamed(qmp, 'passed')).rejects.toMatchObject({ errorClass: 'GenericError' });
  });

  it('serves NBD as the listening socket, with a whole snapshot behind it', async () => {
    await connected();
    const target = join(machine.folder, 'target');
    await writeFile(target, Buffer.alloc(diskBytes));
    const [device] = await queryBlock(qmp);
    expect(device).toMatchObject({
      qomPath,
      inserted: { name: 'disk0', driver: 'qcow2', sizeBytes: diskBytes },
    });
    await blockdevAdd(qmp, { driver: 'raw', 'node-name': 'fl0', file: { driver: 'file', filename: target } });
    await blockdevAdd(qmp, {
      driver: 'copy-before-write',
      'node-name': 'cbw0',
      file: 'disk0',
      target: 'fl0',
      'on-cbw-error': 'break-snapshot',
      'cbw-timeout': 20,
    });
    await qomSet(qmp, qomPath, 'drive', 'cbw0');
    expect((await queryBlock(qmp))[0]).toMatchObject({ qomPath, inserted: { name: 'cbw0' } });
    await blockdevAdd(qmp, { driver: 'snapshot-access', 'node-name': 'acc0', file: 'cbw0' });

    const path = join(machine.folder, 'nbd');
    const listening = listeningUnixSocket(path);
    await passNamed(qmp, listening, 'nbd');
    closeSync(listening);
    await startNbdServer(qmp, { descriptorName: 'nbd' }, 4);
    await expect(startNbdServer(qmp, { path: `${path}-2` }, 4)).rejects.toMatchObject({ code: 'EBUSY' });
    await addNbdExport(qmp, { id: 'exp0', 'node-name': 'acc0', name: 'd0', writable: true });
    expect(await queryBlockExports(qmp)).toEqual([
      { id: 'exp0', type: 'nbd', node: 'acc0', shuttingDown: false },
    ]);
    const { stdout } = await execa('nbdinfo', ['--size', `nbd+unix:///d0?socket=${path}`]);
    expect(stdout).toBe(String(diskBytes));

    await deleteExport(qmp, 'exp0', 'hard');
    await expect(deleteExport(qmp, 'exp0', 'hard')).rejects.toMatchObject({ errorClass: 'GenericError' });
    await blockdevDel(qmp, 'acc0');
    await qomSet(qmp, qomPath, 'drive', 'disk0');
    for (const node of ['cbw0', 'fl0']) await blockdevDel(qmp, node);
    await stopNbdServer(qmp);
  });
});
