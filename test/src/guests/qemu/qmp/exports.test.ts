import { afterEach, beforeEach, expect, it } from 'vitest';
import { z } from 'zod';
import { deleteExport } from '../../../../../src/guests/qemu/qmp/commands/exports.js';
import { QmpConnection } from '../../../../../src/guests/qemu/qmp/connection.js';
import { returned, ScriptedServer } from './scripted-server.js';

let server: ScriptedServer;
let qmp: QmpConnection;
beforeEach(async () => {
  server = await ScriptedServer.qmp((asked, socket) => {
    const gone = (id: string): string =>
      `{"event": "BLOCK_EXPORT_DELETED", "data": {"id": "${id}"}, "timestamp": {"seconds": 1, "microseconds": 1}}\n`;
    if (asked.execute === 'let-go') socket.write(gone('exp0'));
    if (asked.execute === 'block-export-del') socket.write(gone('exp1'));
    socket.write(returned(asked));
  });
  qmp = await QmpConnection.connect(server.path, 'guest 100');
});
afterEach(async () => {
  qmp.close();
  await server.close();
});

it('an export is deleted when QEMU says that it is gone, not when QEMU begins to', async () => {
  let over = false;
  const deleting = deleteExport(qmp, 'exp0', 'hard').then(() => {
    over = true;
  });
  for (let i = 0; i < 3; i++) await qmp.execute('x', undefined, z.unknown());
  expect(over).toBe(false);
  await qmp.execute('let-go', undefined, z.unknown());
  await deleting;
  expect(server.asked[0]).toMatchObject({ arguments: { id: 'exp0', mode: 'hard' } });
});
