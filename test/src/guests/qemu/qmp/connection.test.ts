import { closeSync, fstatSync, openSync, writeFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { QmpConnection } from '../../../../../src/guests/qemu/qmp/connection.js';
import { GuestIsOff, QmpError } from '../../../../../src/guests/qemu/qmp/qmp-error.js';
import { socketPair } from '../../../../../src/posix/received-descriptor.js';
import { listeningUnixSocket } from '../../../../../src/posix/unix-socket.js';
import { type Asked, greeting, onLines, returned, ScriptedServer } from './scripted-server.js';

const guest = 'guest 100';
const ends: Array<() => unknown> = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function scripted(answer: (asked: Asked, socket: Socket) => void): Promise<ScriptedServer> {
  const server = await ScriptedServer.qmp(answer);
  ends.push(() => server.close());
  return server;
}

async function raw(client: (socket: Socket) => void): Promise<ScriptedServer> {
  const server = await ScriptedServer.raw(client);
  ends.push(() => server.close());
  return server;
}

async function connect(server: ScriptedServer, deadlineMilliseconds?: number): Promise<QmpConnection> {
  const connection = await QmpConnection.connect(server.path, guest, { deadlineMilliseconds });
  ends.push(() => connection.close());
  return connection;
}

const anything = z.unknown();

describe('a QMP connection', () => {
  it('negotiates and gives what a command returns, as its schema makes it', async () => {
    const server = await scripted((asked, socket) =>
      socket.write(returned(asked, { status: 'running', running: true, more: [1] })),
    );
    const connection = await connect(server);
    const schema = z.object({ running: z.boolean() });
    expect(await connection.execute('query-status', { x: 1, y: undefined }, schema)).toEqual({
      running: true,
    });
    expect(server.asked[0]).toMatchObject({ execute: 'query-status', arguments: { x: 1 } });
    expect(connection.version).toBe('9.2.1 (test)');
  });

  it('understands answers that come byte by byte, with characters of many bytes', async () => {
    const server = await scripted((asked, socket) => {
      socket.setNoDelay(true);
      for (const byte of Buffer.from(returned(asked, 'Größe 💾'))) socket.write(Uint8Array.of(byte));
    });
    expect(await (await connect(server)).execute('x', undefined, z.string())).toBe('Größe 💾');
  });

  it('gives each command its own answer, whatever the order, with events between', async () => {
    const waiting: Asked[] = [];
    const server = await scripted((asked, socket) => {
      waiting.push(asked);
      if (waiting.length < 3) return;
      for (const each of waiting.reverse()) {
        socket.write(event('STOP'));
        socket.write(returned(each, each.execute));
      }
    });
    const connection = await connect(server);
    const stops: number[] = [];
    const forget = connection.on('STOP', ({ timestamp }) => stops.push(timestamp.seconds));
    connection.on('RESUME', () => stops.push(-1));
    const answers = ['a', 'b', 'c'].map((name) => connection.execute(name, undefined, z.string()));
    expect(await Promise.all(answers)).toEqual(['a', 'b', 'c']);
    expect(stops).toEqual([7, 7, 7]);
    forget();
  });

  it('tells what QEMU refused, by class, and goes on', async () => {
    const server = await scripted((asked, socket) => {
      const errorClass = asked.execute === 'fly' ? 'CommandNotFound' : 'GenericError';
      socket.write(`${JSON.stringify({ id: asked.id, error: { class: errorClass, desc: 'not today' } })}\n`);
    });
    const connection = await connect(server);
    const refusal = await connection.execute('stop', undefined, anything).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(QmpError);
    expect(refusal).toMatchObject({
      code: 'EIO',
      errorClass: 'GenericError',
      description: 'not today',
      message: 'QEMU of guest 100 refused stop: not today',
    });
    await expect(connection.execute('fly', undefined, anything)).rejects.toMatchObject({
      code: 'EOPNOTSUPP',
      errorClass: 'CommandNotFound',
    });
  });

  it('says which answer makes no sense, and goes on', async () => {
    const server = await scripted((asked, socket) => socket.write(returned(asked, { size: 'large' })));
    const connection = await connect(server);
    await expect(
      connection.execute('query-x', undefined, z.object({ size: z.number() })),
    ).rejects.toMatchObject({
      code: 'EPROTO',
      message: expect.stringMatching(/guest 100 answers query-x .*size/),
    });
    expect(await connection.execute('query-x', undefined, z.object({ size: z.string() }))).toEqual({
      size: 'large',
    });
  });

  it('waits for the event that fits', async () => {
    const server = await scripted((asked, socket) => {
      socket.write(event('GONE', { id: 'other' }) + event('GONE', { id: 'mine', n: 1 }) + returned(asked));
    });
    const connection = await connect(server);
    const gone = connection.waitFor('GONE', ({ data }) => data.id === 'mine');
    await connection.execute('x', undefined, anything);
    expect((await gone).data).toEqual({ id: 'mine', n: 1 });
    await expect(connection.waitFor('GONE', () => true, { deadlineMilliseconds: 1 })).rejects.toMatchObject({
      code: 'ETIMEDOUT',
    });
  });
});

describe('a wait for an answer', () => {
  it('ends when it is aborted; the late answer is nobody`s', async () => {
    const server = await scripted((asked, socket) => {
      if (asked.execute === 'fast')
        for (const each of server.asked) socket.write(returned(each, each.execute));
    });
    const connection = await connect(server);
    const abort = new AbortController();
    const slow = connection.execute('slow', undefined, z.string(), { signal: abort.signal });
    const reason = new Error('the caller left');
    await reached(server, 1);
    abort.abort(reason);
    await expect(slow).rejects.toBe(reason);
    expect(await connection.execute('fast', undefined, z.string())).toBe('fast');
  });

  it('ends at its deadline', async () => {
    const connection = await connect(await scripted(() => undefined));
    await expect(
      connection.execute('stop', undefined, anything, { deadlineMilliseconds: 20 }),
    ).rejects.toMatchObject({
      code: 'ETIMEDOUT',
      message: expect.stringMatching(/guest 100 did not answer stop/),
    });
  });

  it('keeps a command from being sent where it is aborted before the socket has room', async () => {
    const server = await scripted((asked, socket) => socket.write(returned(asked)));
    const connection = await connect(server);
    await connection.execute('first', undefined, anything);
    const [socket] = server.sockets;
    socket?.pause();
    const long = connection.execute('long', { x: 'x'.repeat(4_000_000) }, anything);
    const abort = new AbortController();
    const never = connection.execute('never', undefined, anything, { signal: abort.signal });
    const last = connection.execute('last', undefined, anything);
    abort.abort();
    await expect(never).rejects.toThrow();
    socket?.resume();
    await Promise.all([long, last]);
    expect(server.asked.map(({ execute }) => execute)).toEqual(['first', 'long', 'last']);
  });
});

describe('a QMP connection that ends', () => {
  it('fails all that waits on it, with the reason', async () => {
    const server = await scripted((asked, socket) => {
      if (asked.execute !== 'b') return;
      socket.end('{"return": {');
    });
    const connection = await connect(server);
    const event = connection.waitFor('STOP', () => true);
    const waiting = [
      connection.execute('a', undefined, anything),
      connection.execute('b', undefined, anything),
    ];
    for (const each of [event, ...waiting]) await expect(each).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect(connection.ended.reason).toMatchObject({ code: 'ECONNRESET' });
    await expect(connection.execute('c', undefined, anything)).rejects.toBe(connection.ended.reason);
    expect(() => connection.descriptor).toThrow(/guest 100/);
  });

  it('lets the monitor go when it is closed', async () => {
    const server = await scripted(() => undefined);
    const connection = await connect(server);
    const waiting = connection.execute('a', undefined, anything);
    await reached(server, 1);
    const left = new Promise((resolve) => server.sockets[0]?.once('close', resolve));
    connection.close();
    await expect(waiting).rejects.toMatchObject({ code: 'ECANCELED' });
    await left;
  });

  it.each([
    ['an answer to no command', '{"return": {}, "id": "17"}\n'],
    ['an answer without an id', '{"return": {}}\n'],
    ['a parser that has stumbled', '{"error": {"class": "GenericError", "desc": "JSON parse error"}}\n'],
    ['an event without a name', '{"event": {}}\n'],
    ['another message', '{"hello": 1}\n'],
    ['an error without a class', '{"error": 5}\n'],
    ['no JSON', '(qemu) \n'],
    ['values all the way down', `${'{"a":'.repeat(5000)}\n`],
  ])('gives up at %s', async (_, sent) => {
    const connection = await connect(await scripted((_asked, socket) => socket.write(sent)));
    await expect(connection.execute('stop', undefined, anything)).rejects.toMatchObject({
      code: 'EPROTO',
      message: expect.stringContaining('guest 100'),
    });
  });
});

describe('a QMP connection that is taken over', () => {
  it.each([
    ['a name', 'urn": {"x": [{}]}, "id": "old"}\r\n{"return": {}, "id": "older"}\r\n'],
    ['a value', '{"x": [{}]}, "id": "old"}\r\n'],
    ['an event', '{"id": "a"}, "event": "BLOCK_EXPORT_DELETED"}\r\n'],
    ['a text', '{ is no brace"}, "id": "old"}\r\n'],
  ])('goes on after the rest of an answer that was cut in %s, and after half a command', async (_, rest) => {
    const [here, there] = socketPair();
    const server = new Socket({ fd: there });
    ends.push(() => server.destroy());
    const came: string[] = [];
    server.write(rest);
    onLines(server, (line) => {
      came.push(line);
      if (!line.startsWith('{'))
        server.write('{"error": {"class": "GenericError", "desc": "JSON parse error"}}\r\n');
      else server.write(returned(JSON.parse(line), { status: 'paused' }));
    });
    const connection = QmpConnection.takeOver(here, guest);
    ends.push(() => connection.close());
    const schema = z.object({ status: z.literal('paused') });
    await connection.execute('query-status', undefined, schema, { deadlineMilliseconds: 5000 });
    expect(came[0]).toBe('\xff');
  });

  it('is no connection where the descriptor is none', () => {
    const file = openSync('/dev/null', 'r');
    expect(() => QmpConnection.takeOver(file, guest)).toThrow(/no socket of the monitor of guest 100/);
    expect(() => fstatSync(file)).toThrow('EBADF');
  });
});

describe('connecting to a monitor', () => {
  it('says that the guest is off where there is no socket, or nobody behind it', async () => {
    const server = await raw(() => undefined);
    const absent = `${server.path}-absent`;
    await expect(QmpConnection.connect(absent, guest)).rejects.toBeInstanceOf(GuestIsOff);
    const left = `${server.path}-left`;
    writeFileSync(left, '');
    await expect(QmpConnection.connect(left, guest)).rejects.toMatchObject({
      code: 'ENOENT',
      message: `guest 100 is off: nobody listens at ${left}`,
    });
  });

  it('is EBUSY where nobody greets: another program has the monitor', async () => {
    const server = await raw(() => undefined);
    await expect(connect(server, 30)).rejects.toMatchObject({
      code: 'EBUSY',
      message: expect.stringMatching(/monitor of guest 100 .*another program/),
    });
  });

  it('is EBUSY where the queue of those that wait is full', async () => {
    const path = `${(await raw(() => undefined)).path}-full`;
    const listening = listeningUnixSocket(path, 0);
    ends.push(() => closeSync(listening));
    const failures = await Promise.all(
      Array.from({ length: 4 }, () =>
        QmpConnection.connect(path, guest, { deadlineMilliseconds: 40 }).catch((error: unknown) => error),
      ),
    );
    for (const failure of failures) expect(failure).toMatchObject({ code: 'EBUSY' });
  });

  it('waits no longer than the caller', async () => {
    const server = await raw(() => undefined);
    const abort = new AbortController();
    const connecting = QmpConnection.connect(server.path, guest, { signal: abort.signal });
    abort.abort(new Error('left'));
    await expect(connecting).rejects.toThrow('left');
    await expect(QmpConnection.connect(server.path, guest, { signal: abort.signal })).rejects.toThrow('left');
  });

  it.each([
    ['a monitor for people', "QEMU 7.2.22 monitor - type 'help' for more information\r\n", 'EPROTO'],
    ['a greeting that is none', '{"QMP": {}}\n', 'EPROTO'],
    ['an end at once', '', 'ECONNRESET'],
    ['half a greeting', greeting.slice(0, 30), 'ECONNRESET'],
  ])('fails at %s', async (_, sent, code) => {
    await expect(connect(await raw((socket) => socket.end(sent)))).rejects.toMatchObject({ code });
  });

  it('fails in time where a server greets and then is silent', async () => {
    const server = await raw((socket) => socket.write(greeting));
    await expect(connect(server, 30)).rejects.toMatchObject({ code: 'ETIMEDOUT' });
  });
});

function event(name: string, data?: object): string {
  const timestamp = { seconds: 7, microseconds: 5 };
  return `${JSON.stringify({ timestamp, event: name, data })}\r\n`;
}

/** Waits until the server has got so many commands. */
async function reached(server: ScriptedServer, commands: number): Promise<void> {
  while (server.asked.length < commands) await new Promise((resolve) => setImmediate(resolve));
}
