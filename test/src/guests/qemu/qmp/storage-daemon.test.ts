import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { QmpConnection } from '../../../../../src/guests/qemu/qmp/connection.js';
import { QmpSchema } from '../../../../../src/guests/qemu/qmp/schema.js';
import { type RunningQemu, startStorageDaemon } from './running-qemu.js';

let daemon: RunningQemu;
let qmp: QmpConnection;
beforeAll(async () => {
  daemon = await startStorageDaemon();
  qmp = await QmpConnection.connect(daemon.monitor, 'the storage daemon');
});
afterAll(async () => {
  // It ends the connection too, where there is one.
  await daemon.stop();
});

describe('the monitor of a storage daemon', () => {
  it('tells that it knows block nodes, and nothing of machines', async () => {
    const schema = await QmpSchema.of(qmp);
    expect(schema.hasArgument('blockdev-add', 'cbw-timeout', { driver: 'copy-before-write' })).toBe(true);
    expect(['stop', 'cont', 'qom-set'].map((command) => schema.hasCommand(command))).toEqual([
      false,
      false,
      true,
    ]);
  });

  it('fails what waits when the program ends', async () => {
    const other = await startStorageDaemon();
    const connection = await QmpConnection.connect(other.monitor, 'guest 7');
    const event = connection.waitFor('NEVER', () => true);
    await other.stop();
    await expect(event).rejects.toMatchObject({
      code: 'ECONNRESET',
      message: expect.stringContaining('guest 7'),
    });
    await expect(QmpConnection.connect(other.monitor, 'guest 7')).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
