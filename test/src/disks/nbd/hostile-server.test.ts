import { setTimeout as wait } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { type NbdDisk, type NbdOptions, openNbdDisk } from '../../../../src/disks/nbd/nbd-disk.js';
import {
  ACK,
  type Asked,
  type Client,
  greeting,
  type Offer,
  optionReply,
  ScriptedServer,
  UNSUPPORTED,
  wire,
} from './scripted-server.js';

const allocation = { 'base:allocation': 7 };
let server: ScriptedServer;
let disk: NbdDisk | undefined;
afterEach(async () => {
  await disk?.close();
  disk = undefined;
  await server.allClosed();
  await server.close();
});

/** A disk on a server that answers each request so. */
async function diskAnswered(
  answer: (client: Client, asked: Asked) => Promise<void> | void,
  offer: Offer = {},
  options: Partial<NbdOptions> = {},
): Promise<NbdDisk> {
  server = await ScriptedServer.listen(async (client) => {
    await client.negotiate(offer);
    for (;;) {
      const asked = await client.request();
      if (asked.type === 2) return client.hangUp();
      await answer(client, asked);
    }
  });
  disk = await openNbdDisk({ address: { path: server.path }, exportName: 'disk', ...options });
  return disk;
}

const eio = (words: RegExp) => ({ code: 'EIO', message: expect.stringMatching(words) });

describe('a server that goes wrong while the sides negotiate', () => {
  const cases: Record<
    string,
    [script: (client: Client) => Promise<void> | void, code: string, words: RegExp]
  > = {
    'says nothing': [() => undefined, 'EIO', /did not answer within 200 ms/],
    'says nothing after its greeting': [(client) => client.say(greeting()), 'EIO', /did not answer within/],
    'stops in the middle of its greeting': [
      (client) => client.say(greeting().subarray(0, 11)),
      'EIO',
      /did not answer within/,
    ],
    'hangs up at once': [(client) => client.hangUp(), 'EIO', /closed the connection/],
    'greets as something else': [
      (client) => client.say(Buffer.from('SSH-2.0-OpenSSH_9.2p1')),
      'EIO',
      /its greeting is not that of a newstyle server/,
    ],
    'speaks old style only': [(client) => client.say(greeting(0)), 'EIO', /no fixed newstyle/],
    'answers another option': [
      async (client) => {
        client.say(greeting());
        await client.read(4);
        await client.option();
        client.say(optionReply(99, ACK));
      },
      'EIO',
      /answers option 99/,
    ],
    'answers with wrong magic': [
      (client) => client.say(greeting(), Buffer.alloc(20, 0x55)),
      'EIO',
      /a reply to an option begins with something else/,
    ],
    'answers an option without end': [
      async (client) => {
        client.say(greeting());
        await client.read(4);
        await client.option();
        await client.sayForEver(optionReply(11, 3, wire([9, 2])));
      },
      'EIO',
      /replies to option 11 do not end/,
    ],
    'announces a huge answer to an option': [
      (client) => client.say(greeting(), wire([0x3e889045565a9n, 8], [11, 4], [3, 4], [0xffff_fff0, 4])),
      'EIO',
      /a reply of 4294967280 bytes to option 11/,
    ],
    'has no structured replies': [
      async (client) => {
        client.say(greeting());
        await client.read(4);
        for (;;) client.say(optionReply((await client.option()).option, UNSUPPORTED));
      },
      'EIO',
      /no structured replies/,
    ],
    'has no such export': [
      refusing(0x8000_0006, 'no \u001b[31msuch\nthing'),
      'ENOENT',
      /no export "disk": no \[31msuch thing$/,
    ],
    'does not let us see the export': [
      refusing(0x8000_0002),
      'EACCES',
      /does not let us see the export "disk"/,
    ],
    'wants TLS': [refusing(0x8000_0005), 'EOPNOTSUPP', /wants TLS/],
    'is shutting down': [refusing(0x8000_0007), 'EIO', /shutting down/],
    'refuses without a reason that we know': [refusing(0x8000_00ff, 'so'), 'EIO', /with 0x800000ff: so/],
    'has a disk beyond 2^53': [(client) => client.negotiate({ size: 2n ** 53n }), 'EIO', /beyond 2\^53/],
    'has blocks of an odd size': [
      (client) => client.negotiate({ blocks: [3, 512, 65536] }),
      'EIO',
      /blocks of 3 bytes/,
    ],
    'does not tell a size': [
      async (client) => {
        client.say(greeting());
        await client.read(4);
        for (;;) client.say(optionReply((await client.option()).option, ACK));
      },
      'EIO',
      /does not tell the size/,
    ],
    'agrees on a context that nobody asked for': [
      async (client) => {
        client.say(greeting());
        await client.read(4);
        for (;;) {
          const { option } = await client.option();
          if (option === 10)
            client.say(optionReply(10, 4, Buffer.concat([wire([1, 4]), Buffer.from('x:y')])));
          client.say(optionReply(option, ACK));
        }
      },
      'EIO',
      /a meta context that nobody asked for/,
    ],
    'speaks before it is asked': [
      async (client) => {
        await client.negotiate();
        client.say(Buffer.alloc(100));
      },
      'EIO',
      /keep to the protocol/,
    ],
  };
  for (const [name, [script, code, words]] of Object.entries(cases)) {
    test(`and ${name} is told so`, async () => {
      server = await ScriptedServer.listen(script);
      const opening = openNbdDisk({ address: { path: server.path }, exportName: 'disk', silence: 200 }).then(
        // What is said after the last option may arrive only once the disk is open.
        async (opened) => {
          disk = opened;
          await opened.read(0, Buffer.alloc(512));
        },
      );
      await expect(opening).rejects.toMatchObject({ code, message: expect.stringMatching(words) });
    });
  }

  function refusing(error: number, words = ''): (client: Client) => Promise<void> {
    return async (client) => {
      client.say(greeting());
      await client.read(4);
      for (;;) {
        const { option } = await client.option();
        client.say(option === 7 ? optionReply(7, error, Buffer.from(words)) : optionReply(option, ACK));
      }
    };
  }

  test('one connection of several that fails leaves none', async () => {
    server = await ScriptedServer.listen((client, place) =>
      place === 0 ? client.negotiate({ flags: 1 | (1 << 8) }) : client.hangUp(),
    );
    const options = { address: { path: server.path }, exportName: 'disk', connections: 2 };
    await expect(openNbdDisk(options)).rejects.toMatchObject(eio(/closed the connection/));
    expect(server.clients.length).toBe(2);
  });

  test('connections to disks of two sizes are refused', async () => {
    server = await ScriptedServer.listen((client, place) =>
      client.negotiate({ flags: 1 | (1 << 8), size: 65536 * (place + 1) }),
    );
    const options = { address: { path: server.path }, exportName: 'disk', connections: 2 };
    await expect(openNbdDisk(options)).rejects.toMatchObject(eio(/131072 bytes, where it was 65536/));
  });

  test('a dirty bitmap that the export does not show is refused', async () => {
    server = await ScriptedServer.listen((client) => client.negotiate({ contexts: allocation }));
    const options = { address: { path: server.path }, exportName: 'disk', dirtyBitmap: 'b' };
    await expect(openNbdDisk(options)).rejects.toMatchObject(eio(/does not show qemu:dirty-bitmap:b/));
  });
});

describe('an abort', () => {
  const stages: Record<string, (client: Client) => Promise<void> | void> = {
    'before the greeting': () => undefined,
    'in the middle of the options': (client) => client.say(greeting()),
    'while the second connection is made': (client) =>
      client === server.clients[0] ? client.negotiate({ flags: 1 | (1 << 8) }) : undefined,
  };
  for (const [stage, script] of Object.entries(stages)) {
    test(`${stage} ends the opening with the signal's reason`, async () => {
      const abort = new AbortController();
      server = await ScriptedServer.listen(script);
      const opening = openNbdDisk({ address: { path: server.path }, exportName: 'disk' }, abort.signal);
      opening.catch(() => undefined);
      await server.came(stage.includes('second') ? 2 : 1);
      abort.abort(new Error('enough'));
      await expect(opening).rejects.toThrow('enough');
    });
  }

  test('that has happened before opens nothing', async () => {
    server = await ScriptedServer.listen(() => undefined);
    const options = { address: { path: server.path }, exportName: 'disk' };
    await expect(openNbdDisk(options, AbortSignal.abort(new Error('enough')))).rejects.toThrow('enough');
    expect(server.clients.length).toBe(0);
  });

  test('of a read ends it at once, and its late reply goes by', async () => {
    const abort = new AbortController();
    const held: Asked[] = [];
    const opened = await diskAnswered((client, asked) => {
      if (asked.offset === 0) {
        held.push(asked);
        abort.abort(new Error('enough'));
        return;
      }
      for (const late of held.splice(0)) client.data(late, 0, Buffer.alloc(late.length, 1));
      client.data(asked, asked.offset, Buffer.alloc(asked.length, 2));
    });
    await expect(opened.read(0, Buffer.alloc(512), abort.signal)).rejects.toThrow('enough');
    const bytes = Buffer.alloc(512);
    await opened.read(512, bytes);
    expect(bytes).toEqual(Buffer.alloc(512, 2));
    await expect(opened.read(0, bytes, abort.signal)).rejects.toThrow('enough');
  });
});

describe('a reply to a read', () => {
  const cases: Record<
    string,
    [answer: (client: Client, asked: Asked) => Promise<void> | void, words: RegExp]
  > = {
    'with wrong magic': [(client) => client.say(Buffer.alloc(64, 0x11)), /a reply begins with 0x11111111/],
    'with the cookie of another request': [
      (client, asked) => client.data({ ...asked, cookie: 77n }, 0, Buffer.alloc(4096)),
      /request 77, which is not under way/,
    ],
    'with a cookie beyond 2^53': [
      (client, asked) => client.data({ ...asked, cookie: 2n ** 60n }, 0, Buffer.alloc(4096)),
      /a cookie is 1152921504606846976/,
    ],
    'that is cut off by the end of the connection': [
      (client, asked) => {
        client.say(client.header(asked, 1, 4104), wire([asked.offset, 8]), Buffer.alloc(100));
        client.hangUp();
      },
      /closed the connection/,
    ],
    'that tells less data': [
      (client, asked) => client.data(asked, asked.offset, Buffer.alloc(4095)),
      /less data than was asked for/,
    ],
    'that tells no data': [(client, asked) => client.chunk(asked, 0), /less data than was asked for/],
    'that tells more data': [
      (client, asked) => client.data(asked, asked.offset, Buffer.alloc(4097)),
      /data that nobody asked for/,
    ],
    'that announces the most data': [
      (client, asked) => client.say(client.header(asked, 1, 0xffff_ffff), wire([0, 8])),
      /data that nobody asked for/,
    ],
    'with data before the request': [
      (client, asked) => client.data(asked, asked.offset - 1, Buffer.alloc(1)),
      /data that nobody asked for/,
    ],
    'with data at an offset beyond 2^53': [
      (client, asked) => client.chunk(asked, 1, Buffer.concat([wire([2n ** 63n, 8]), Buffer.alloc(1)])),
      /an offset is 9223372036854775808/,
    ],
    'with a hole that leaves the request': [
      (client, asked) => client.chunk(asked, 2, wire([4096, 8], [4097, 4])),
      /data that nobody asked for/,
    ],
    'with a hole of no length': [
      (client, asked) => client.chunk(asked, 2, wire([4096, 8], [0, 4])),
      /data of 0 bytes/,
    ],
    'with chunks that overlap and leave a gap': [
      (client, asked) => {
        client.data(asked, 4096, Buffer.alloc(2048), false);
        client.data(asked, 5120, Buffer.alloc(2048));
      },
      /data that it has sent before/,
    ],
    'with a chunk around another': [
      (client, asked) => {
        client.data(asked, 5000, Buffer.alloc(10), false);
        client.data(asked, 4096, Buffer.alloc(4096));
      },
      /data that it has sent before/,
    ],
    'with a chunk within another': [
      (client, asked) => {
        client.data(asked, 4096, Buffer.alloc(2048), false);
        client.data(asked, 5000, Buffer.alloc(10), false);
        client.data(asked, 6144, Buffer.alloc(2048));
      },
      /data that it has sent before/,
    ],
    'with empty data chunks without end': [
      (client, asked) => client.sayForEver(Buffer.concat([client.header(asked, 1, 8, false), wire([0, 8])])),
      /data of 8 bytes with their offset/,
    ],
    'with empty chunks without end': [
      (client, asked) => client.sayForEver(client.header(asked, 0, 0, false)),
      /an empty chunk that is not the last/,
    ],
    'with errors without end': [
      (client, asked) =>
        client.sayForEver(Buffer.concat([client.header(asked, 0x8001, 6, false), wire([5, 4], [0, 2])])),
      /errors without end/,
    ],
    'that is simple': [(client, asked) => client.simple(asked, 0), /answered by a simple reply/],
    'of a kind that nobody knows': [
      (client, asked) => client.chunk(asked, 9, Buffer.alloc(16)),
      /a chunk of type 9 with 16 bytes/,
    ],
    'with a huge payload that is no data': [
      (client, asked) => client.say(client.header(asked, 2, 0x7fff_ffff)),
      /a chunk of type 2 with 2147483647 bytes/,
    ],
    'with block status': [
      (client, asked) => client.chunk(asked, 5, wire([7, 4], [4096, 4], [0, 4])),
      /block status that nobody asked for|not agreed on/,
    ],
    'with an error that is none': [(client, asked) => client.error(asked, 0), /an error that is none/],
    'with an error whose words leave it': [
      (client, asked) => client.chunk(asked, 0x8001, wire([5, 4], [100, 2])),
      /an error whose words leave it/,
    ],
    'with an error outside the request': [
      (client, asked) => client.chunk(asked, 0x8002, wire([5, 4], [0, 2], [1, 8])),
      /an error outside the request/,
    ],
  };
  for (const [name, [answer, words]] of Object.entries(cases)) {
    test(`${name} fails all that is under way with that sentence, and the connection`, async () => {
      const opened = await diskAnswered(answer);
      const reads = [4096, 8192].map((offset) => opened.read(offset, Buffer.alloc(4096)));
      const outcomes = await Promise.allSettled(reads);
      for (const outcome of outcomes) {
        expect(outcome).toMatchObject({ status: 'rejected', reason: eio(words) });
      }
      await expect(opened.read(0, Buffer.alloc(1))).rejects.toMatchObject({
        ...eio(/connection to the NBD server is lost/),
        cause: eio(words),
      });
      expect(opened.lost).toMatchObject(eio(words));
    });
  }

  test('may come in chunks in any order, with holes', async () => {
    const opened = await diskAnswered((client, asked) => {
      client.data(asked, 600, Buffer.alloc(400, 3), false);
      client.data(asked, 0, Buffer.alloc(100, 1), false);
      client.chunk(asked, 2, wire([100, 8], [500, 4]), false);
      client.data(asked, 1000, Buffer.alloc(24, 4), false);
      client.chunk(asked, 0);
    });
    const bytes = Buffer.alloc(1024, 0xee);
    await opened.read(0, bytes);
    const expected = [Buffer.alloc(100, 1), Buffer.alloc(500), Buffer.alloc(400, 3), Buffer.alloc(24, 4)];
    expect(bytes).toEqual(Buffer.concat(expected));
  });

  test('may come between the chunks of another', async () => {
    const waiting: Asked[] = [];
    const opened = await diskAnswered((client, asked) => {
      waiting.push(asked);
      const [first, second] = waiting;
      if (!first || !second) return;
      client.data(second, second.offset, Buffer.alloc(256, 2), false);
      client.data(first, first.offset, Buffer.alloc(512, 1));
      client.data(second, second.offset + 256, Buffer.alloc(256, 3));
    });
    const bytes = [Buffer.alloc(512), Buffer.alloc(512)];
    await Promise.all(bytes.map((target, place) => opened.read(place * 512, target)));
    expect(bytes[0]).toEqual(Buffer.alloc(512, 1));
    expect(bytes[1]).toEqual(Buffer.concat([Buffer.alloc(256, 2), Buffer.alloc(256, 3)]));
  });

  test('in 4096 single bytes from the last to the first is put together', async () => {
    const opened = await diskAnswered((client, asked) => {
      for (let at = 4095; at >= 0; at--) client.data(asked, at, Buffer.of(at % 251), at === 0);
    });
    const bytes = Buffer.alloc(4096);
    await opened.read(0, bytes);
    expect(bytes).toEqual(Buffer.from(Array.from({ length: 4096 }, (_, at) => at % 251)));
  });

  test('with an error fails that read alone, with the server’s words made harmless', async () => {
    const opened = await diskAnswered((client, asked) => {
      if (asked.offset === 0) client.error(asked, 5, 'bad\n\u001b]0;sector\u0007');
      else client.data(asked, asked.offset, Buffer.alloc(asked.length));
    });
    await expect(opened.read(0, Buffer.alloc(512))).rejects.toMatchObject(
      eio(/refused a read of 512 bytes at 0: its storage failed \("bad \]0;sector"\)$/),
    );
    await opened.read(512, Buffer.alloc(512));
  });

  test('with an error at an offset after some data fails that read and tells where', async () => {
    const opened = await diskAnswered((client, asked) => {
      client.data(asked, 0, Buffer.alloc(512), false);
      client.chunk(asked, 0x8002, wire([5, 4], [0, 2], [700, 8]), false);
      client.chunk(asked, 0);
    });
    await expect(opened.read(0, Buffer.alloc(1024))).rejects.toMatchObject(eio(/failed, at 700$/));
    await expect(opened.read(0, Buffer.alloc(1024))).rejects.toMatchObject(eio(/failed, at 700$/));
  });

  test('with EINVAL is EIO: the bytes can’t be had', async () => {
    const opened = await diskAnswered((client, asked) => client.error(asked, 22));
    await expect(opened.read(0, Buffer.alloc(512))).rejects.toMatchObject(eio(/calls the request invalid/));
  });

  test('with ESHUTDOWN makes the client say goodbye', async () => {
    const opened = await diskAnswered((client, asked) => client.error(asked, 108));
    await expect(opened.read(0, Buffer.alloc(512))).rejects.toMatchObject(eio(/it is shutting down/));
    // The server hangs up only when it is told the disconnect command.
    await server.allClosed();
    await expect(opened.read(0, Buffer.alloc(512))).rejects.toMatchObject(eio(/lost/));
  });
});

describe('block status', () => {
  const cases: Record<string, [answer: (client: Client, asked: Asked) => void, words: RegExp]> = {
    'with a run of no length': [
      (client, asked) => client.chunk(asked, 5, wire([7, 4], [0, 4], [3, 4], [65536, 4], [0, 4])),
      /block status of 0 bytes of the disk/,
    ],
    'without runs': [(client, asked) => client.chunk(asked, 5, wire([7, 4])), /block status of 4 bytes/],
    'with half a run': [
      (client, asked) => client.chunk(asked, 5, wire([7, 4], [4096, 4])),
      /block status of 8 bytes/,
    ],
    'of no context': [(client, asked) => client.chunk(asked, 0), /no block status of a context/],
    'of a context that is unknown': [
      (client, asked) => client.chunk(asked, 5, wire([8, 4], [65536, 4], [0, 4])),
      /a context that was not agreed on/,
    ],
    'of one context twice': [
      (client, asked) => {
        client.chunk(asked, 5, wire([7, 4], [65536, 4], [0, 4]), false);
        client.chunk(asked, 5, wire([7, 4], [65536, 4], [0, 4]));
      },
      /one context twice/,
    ],
    'in a simple reply': [(client, asked) => client.simple(asked, 0), /answered by a simple reply/],
    'in a chunk for extended headers': [
      (client, asked) => client.chunk(asked, 6, wire([7, 4], [1, 4], [65536, 8], [0, 8])),
      /a chunk of type 6/,
    ],
  };
  for (const [name, [answer, words]] of Object.entries(cases)) {
    test(`${name} is told so`, async () => {
      const opened = await diskAnswered(answer, { contexts: allocation });
      await expect(opened.extents(0, 65536)).rejects.toMatchObject(eio(words));
    });
  }

  test('of more than was asked for ends where the question did', async () => {
    const opened = await diskAnswered(
      (client, asked) => client.chunk(asked, 5, wire([7, 4], [4096, 4], [0, 4], [0xffff_ffff, 4], [3, 4])),
      { contexts: allocation },
    );
    expect(await opened.extents(100, 8000)).toEqual([
      { offset: 100, length: 4096, zero: false, dirty: true },
      { offset: 4196, length: 3904, zero: true, dirty: true },
    ]);
  });

  test('of less than was asked for is asked again from there', async () => {
    const opened = await diskAnswered(
      (client, asked) => client.chunk(asked, 5, wire([7, 4], [4096, 4], [2, 4])),
      { contexts: allocation },
    );
    expect(await opened.extents(512, 8192)).toEqual([{ offset: 512, length: 4096, zero: true, dirty: true }]);
  });

  test('that never leaves the first block is told so, instead of asked for ever', async () => {
    const opened = await diskAnswered(
      (client, asked) => client.chunk(asked, 5, wire([7, 4], [100, 4], [2, 4])),
      { contexts: allocation, blocks: [4096, 4096, 65536] },
    );
    await expect(opened.extents(200, 100)).rejects.toMatchObject(eio(/block status that ends before 200/));
  });

  test('of two contexts with runs of other lengths is put side by side, whatever the order', async () => {
    const opened = await diskAnswered(
      (client, asked) => {
        client.chunk(asked, 5, wire([9, 4], [1000, 4], [1, 4], [3000, 4], [0, 4]), false);
        client.chunk(asked, 5, wire([7, 4], [2000, 4], [3, 4], [9000, 4], [0, 4]));
      },
      { contexts: { ...allocation, 'qemu:dirty-bitmap:b': 9 } },
      { dirtyBitmap: 'b' },
    );
    expect(await opened.extents(0, 65536)).toEqual([
      { offset: 0, length: 1000, zero: true, dirty: true },
      { offset: 1000, length: 1000, zero: true, dirty: false },
      { offset: 2000, length: 2000, zero: false, dirty: false },
    ]);
  });

  test('of half a million runs is taken', async () => {
    const rows = 1 << 19;
    const payload = Buffer.alloc(4 + rows * 8);
    payload.writeUInt32BE(7, 0);
    for (let row = 0; row < rows; row++) {
      payload.writeUInt32BE(512, 4 + row * 8);
      payload.writeUInt32BE(row % 2 === 0 ? 3 : 0, 8 + row * 8);
    }
    const opened = await diskAnswered((client, asked) => client.chunk(asked, 5, payload), {
      contexts: allocation,
      size: 2 ** 40,
    });
    const extents = await opened.extents(0, 2 ** 40);
    expect(extents.length).toBe(rows);
    expect(extents.at(-1)).toEqual({ offset: (rows - 1) * 512, length: 512, zero: false, dirty: true });
  });

  test('that the server refuses is EIO for that question alone', async () => {
    const opened = await diskAnswered(
      (client, asked) => (asked.offset === 0 ? client.error(asked, 22) : client.simple(asked, 12)),
      { contexts: allocation },
    );
    await expect(opened.extents(0, 512)).rejects.toMatchObject(eio(/block status of 512 bytes at 0/));
    await expect(opened.extents(512, 512)).rejects.toMatchObject({ code: 'ENOMEM' });
  });

  test('that is refused for one context and told for the other, as QEMU does, ends no connection', async () => {
    const runs = (context: number): Buffer => wire([context, 4], [65536, 4], [0, 4]);
    const opened = await diskAnswered(
      (client, asked) => {
        if (asked.offset === 0) client.error(asked, 22);
        else client.chunk(asked, 5, runs(7), false);
        client.chunk(asked, 5, runs(8));
      },
      { contexts: { ...allocation, 'qemu:dirty-bitmap:b': 8 } },
      { dirtyBitmap: 'b' },
    );
    for (let time = 0; time < 3; time++) {
      await expect(opened.extents(0, 512)).rejects.toMatchObject(eio(/block status of 512 bytes at 0/));
      expect(await opened.extents(512, 512)).toMatchObject([{ offset: 512, length: 512, dirty: false }]);
    }
    expect(opened.lost).toBeUndefined();
  });
});

describe('silence', () => {
  test('while a read waits ends the connection', async () => {
    const opened = await diskAnswered(() => undefined, {}, { silence: 100 });
    await expect(opened.read(0, Buffer.alloc(512))).rejects.toMatchObject(eio(/said nothing for 100 ms/));
  });

  test('is not a payload that trickles in', async () => {
    const opened = await diskAnswered(
      async (client, asked) => {
        client.say(client.header(asked, 1, 8 + 512), wire([0, 8]));
        for (let part = 0; part < 8; part++) {
          await wait(100);
          client.say(Buffer.alloc(64, part));
        }
      },
      {},
      { silence: 500 },
    );
    const bytes = Buffer.alloc(512);
    await opened.read(0, bytes);
    expect(bytes[511]).toBe(7);
  });

  test('in the middle of a payload ends the connection', async () => {
    const opened = await diskAnswered(
      (client, asked) => client.say(client.header(asked, 1, 8 + 512), wire([0, 8]), Buffer.alloc(100)),
      {},
      { silence: 100 },
    );
    await expect(opened.read(0, Buffer.alloc(512))).rejects.toMatchObject(eio(/said nothing/));
  });

  test('that nobody waited through is none for who asks later', async () => {
    const abort = new AbortController();
    const opened = await diskAnswered(
      async (client, asked) => {
        if (asked.offset === 0) return abort.abort(new Error('enough'));
        await wait(250);
        client.data(asked, asked.offset, Buffer.alloc(asked.length, 1));
      },
      {},
      { silence: 500 },
    );
    // An aborted request stays under way for ever: the server owes it a reply.
    await expect(opened.read(0, Buffer.alloc(512), abort.signal)).rejects.toThrow('enough');
    await wait(350);
    await opened.read(512, Buffer.alloc(512));
  });

  test('before a deadline leaves the connection, and fails what is late with ETIMEDOUT', async () => {
    const held: Asked[] = [];
    const opened = await diskAnswered(
      (client, asked) => {
        if (asked.offset === 0) return void held.push(asked);
        for (const late of held.splice(0)) client.data(late, 0, Buffer.alloc(late.length));
        client.data(asked, asked.offset, Buffer.alloc(asked.length, 1));
      },
      {},
      { deadline: 100 },
    );
    await expect(opened.read(0, Buffer.alloc(512))).rejects.toMatchObject({
      code: 'ETIMEDOUT',
      message: expect.stringMatching(/read of 512 bytes at 0 within 100 ms/),
    });
    await opened.read(512, Buffer.alloc(512));
  });
});

describe('a lost connection', () => {
  /** Answers so many requests on each connection, then hangs up. */
  const fickle = (answered: number, offer: Offer = {}) =>
    ScriptedServer.listen(async (client, place) => {
      await client.negotiate({
        ...offer,
        ...(place > 0 && offer.contexts && { contexts: { 'base:allocation': 99 } }),
      });
      for (let count = 0; count < answered; count++) {
        const asked = await client.request();
        if (asked.type === 2) return client.hangUp();
        if (asked.type === 7)
          client.chunk(asked, 5, wire([place > 0 ? 99 : 7, 4], [asked.length, 4], [2, 4]));
        else client.data(asked, asked.offset, Buffer.alloc(asked.length, place));
      }
      await client.request();
      client.hangUp();
    });
  const open = async (options: Partial<NbdOptions> = {}) => {
    disk = await openNbdDisk({ address: { path: server.path }, exportName: 'disk', ...options });
    return disk;
  };

  test('is made anew, and what was asked is asked again', async () => {
    server = await fickle(1);
    const opened = await open({ reconnect: true });
    for (const place of [0, 1, 2]) {
      const bytes = Buffer.alloc(512, 0xee);
      await opened.read(0, bytes);
      expect(bytes).toEqual(Buffer.alloc(512, place));
    }
    expect(opened.lost).toBeUndefined();
  });

  test('is made anew once for all that wait', async () => {
    server = await fickle(8);
    const opened = await open({ reconnect: true });
    await Promise.all(Array.from({ length: 8 }, (_, n) => opened.read(n * 512, Buffer.alloc(512))));
    await Promise.all(Array.from({ length: 8 }, (_, n) => opened.read(n * 512, Buffer.alloc(512))));
    expect(server.clients.length).toBe(2);
  });

  test('that comes back with other numbers for its contexts is understood', async () => {
    server = await fickle(1, { contexts: allocation });
    const opened = await open({ reconnect: true });
    for (const _ of [1, 2])
      expect(await opened.extents(0, 512)).toEqual([{ offset: 0, length: 512, zero: true, dirty: true }]);
  });

  test('that is lost again and again is EIO after three times', async () => {
    server = await fickle(0);
    const opened = await open({ reconnect: true });
    await expect(opened.read(0, Buffer.alloc(512))).rejects.toMatchObject(eio(/closed the connection/));
    expect(server.clients.length).toBe(3);
  });

  test('is not made anew unless that is wanted', async () => {
    server = await fickle(0);
    const opened = await open({ reconnect: false });
    await expect(opened.read(0, Buffer.alloc(512))).rejects.toMatchObject(eio(/closed the connection/));
    await expect(opened.read(0, Buffer.alloc(512))).rejects.toMatchObject(eio(/is lost/));
    expect(server.clients.length).toBe(1);
  });

  test('to a disk that has become another is not used', async () => {
    server = await ScriptedServer.listen(async (client, place) => {
      await client.negotiate({ size: 65536 + place });
      await client.request();
      client.hangUp();
    });
    const opened = await open({ reconnect: true });
    await expect(opened.read(0, Buffer.alloc(512))).rejects.toMatchObject(
      eio(/6553[789] bytes, where it was 65536/),
    );
  });

  test('of several leaves the others at work', async () => {
    server = await ScriptedServer.listen(async (client, place) => {
      await client.negotiate({ flags: 1 | (1 << 8) });
      for (;;) {
        const asked = await client.request();
        if (place === 0 || asked.type === 2) return client.hangUp();
        client.data(asked, asked.offset, Buffer.alloc(asked.length));
      }
    });
    const opened = await open();
    await expect(opened.read(0, Buffer.alloc(512))).rejects.toMatchObject(eio(/closed the connection/));
    await opened.read(0, Buffer.alloc(512));
    await opened.read(0, Buffer.alloc(512));
    expect(opened.lost).toMatchObject(eio(/closed the connection/));
  });

  test('is not waited for once the disk is closed, nor when the wait is aborted', async () => {
    server = await ScriptedServer.listen(async (client, place) => {
      if (place > 0) return;
      await client.negotiate();
      await client.request();
      client.hangUp();
    });
    const opened = await open({ reconnect: true });
    const abort = new AbortController();
    const read = opened.read(0, Buffer.alloc(512), abort.signal);
    read.catch(() => undefined);
    await server.came(2);
    abort.abort(new Error('enough'));
    await expect(read).rejects.toThrow('enough');
    const another = opened.read(0, Buffer.alloc(512));
    another.catch(() => undefined);
    await server.came(3);
    await opened.close();
    await expect(another).rejects.toMatchObject({ code: 'EBADF' });
  });
});

describe('closing', () => {
  test('fails what is under way, and does not wait for a server that says nothing', async () => {
    let deaf: () => void = () => undefined;
    const isDeaf = new Promise<void>((resolve) => {
      deaf = resolve;
    });
    const opened = await diskAnswered((client) => {
      client.pause();
      deaf();
    });
    const read = opened.read(0, Buffer.alloc(512));
    read.catch(() => undefined);
    await isDeaf;
    await opened.close();
    await expect(read).rejects.toMatchObject({ code: 'EBADF' });
    await expect(opened.read(0, Buffer.alloc(512))).rejects.toMatchObject({ code: 'EBADF' });
    await opened.close();
    // A server that reads nothing can't see its client go.
    for (const client of server.clients) client.hangUp();
  });

  test('says goodbye', async () => {
    const opened = await diskAnswered((client, asked) => client.data(asked, 0, Buffer.alloc(asked.length)));
    await opened.read(0, Buffer.alloc(512));
    await opened.close();
    // The script hangs up when it is told the disconnect command, or else waits for ever.
    await server.allClosed();
    expect(server.clients[0]?.bytes).toBeGreaterThan(28 + 28);
  });
});

describe('requests', () => {
  test('go in whole blocks, and in pieces that the server takes', async () => {
    const asked: [number, number][] = [];
    const opened = await diskAnswered(
      (client, request) => {
        asked.push([request.offset, request.length]);
        const bytes = Buffer.from(
          Array.from({ length: request.length }, (_, at) => (request.offset + at) % 253),
        );
        client.data(request, request.offset, bytes);
      },
      { blocks: [512, 512, 1300], size: 8192 },
    );
    const bytes = Buffer.alloc(2000);
    await opened.read(700, bytes);
    expect(bytes).toEqual(Buffer.from(Array.from({ length: 2000 }, (_, at) => (700 + at) % 253)));
    expect(asked).toEqual([
      [512, 1024],
      [1536, 1024],
      [2560, 512],
    ]);
    await opened.read(0, new Uint8Array(0));
    expect(asked.length).toBe(3);
  });

  test('never leave the disk', async () => {
    const opened = await diskAnswered(() => undefined, { contexts: allocation, flags: 1 | 32 });
    for (const [offset, length] of [
      [65536, 1],
      [65000, 537],
      [-1, 1],
      [0.5, 1],
      [2 ** 53, 1],
    ] as const) {
      await expect(opened.read(offset, Buffer.alloc(length))).rejects.toMatchObject({ code: 'EINVAL' });
      await expect(opened.extents(offset, length)).rejects.toMatchObject({ code: 'EINVAL' });
      await expect(opened.discard?.(offset, length)).rejects.toMatchObject({ code: 'EINVAL' });
    }
    expect(await opened.extents(65536, 0)).toEqual([]);
  });

  test('to discard are in whole granules, or up to the end of the disk', async () => {
    const trimmed: [number, number][] = [];
    const opened = await diskAnswered(
      (client, { offset, length, ...asked }) => {
        trimmed.push([offset, length]);
        client.chunk({ offset, length, ...asked }, 0);
      },
      { flags: 1 | 32, size: 3 * 2 ** 32 + 100 },
      { discardGranule: 65536 },
    );
    for (const [offset, length] of [
      [4096, 65536],
      [0, 4096],
      [65536, 65537],
    ] as const)
      await expect(opened.discard?.(offset, length)).rejects.toMatchObject({
        code: 'EINVAL',
        message: expect.stringMatching(/not whole granules of 65536/),
      });
    expect(trimmed).toEqual([]);
    await opened.discard?.(65536, 131072);
    await opened.discard?.(3 * 2 ** 32, 100);
    await opened.discard?.(0, 2 ** 32);
    expect(trimmed).toEqual([
      [65536, 131072],
      [3 * 2 ** 32, 100],
      [0, 2 ** 31],
      [2 ** 31, 2 ** 31],
    ]);
  });

  test('to discard are not there where the server takes none', async () => {
    const opened = await diskAnswered(() => undefined);
    expect(opened.discard).toBeUndefined();
  });
});

describe('extended headers', () => {
  const extended = { extended: true, size: 2 ** 40, contexts: allocation, flags: 1 | 32 };

  test('are used where they are offered: reads, runs and trims beyond 4 GiB', async () => {
    const asked: [number, number, number][] = [];
    const opened = await diskAnswered((client, request) => {
      asked.push([request.type, request.offset, request.length]);
      if (request.type === 0) client.data(request, request.offset, Buffer.alloc(request.length, 5));
      else if (request.type === 4) client.chunk(request, 0);
      else client.chunk(request, 6, wire([7, 4], [2, 4], [2 ** 33, 8], [3, 8], [2 ** 39, 8], [0, 8]));
    }, extended);
    const bytes = Buffer.alloc(512);
    await opened.read(2 ** 35, bytes);
    expect(bytes).toEqual(Buffer.alloc(512, 5));
    expect(await opened.extents(0, 2 ** 40)).toEqual([
      { offset: 0, length: 2 ** 33, zero: true, dirty: true },
      { offset: 2 ** 33, length: 2 ** 39, zero: false, dirty: true },
    ]);
    await opened.discard?.(0, 2 ** 34);
    expect(asked).toEqual([
      [0, 2 ** 35, 512],
      [7, 0, 2 ** 40],
      [4, 0, 2 ** 34],
    ]);
    // Structured replies are not asked for beside them.
    expect(server.clients[0]?.options).toEqual([11, 10, 7]);
  });

  const cases: Record<string, [answer: (client: Client, asked: Asked) => void, words: RegExp]> = {
    'with another offset': [
      (client, asked) => client.chunk({ ...asked, offset: 1 }, 6, wire([7, 4], [1, 4], [512, 8], [0, 8])),
      /another offset than its request/,
    ],
    'that is simple': [(client, asked) => client.simple(asked, 5), /begins with 0x67446698/],
    'with status for short headers': [
      (client, asked) => client.chunk(asked, 5, wire([7, 4], [512, 4], [0, 4])),
      /a chunk of type 5/,
    ],
    'with a wrong count of runs': [
      (client, asked) => client.chunk(asked, 6, wire([7, 4], [2, 4], [512, 8], [0, 8])),
      /block status of 24 bytes/,
    ],
    'with a run beyond 2^53': [
      (client, asked) => client.chunk(asked, 6, wire([7, 4], [1, 4], [2n ** 60n, 8], [0, 8])),
      /the length of a run is/,
    ],
    'with a payload beyond 2^53': [
      (client, asked) =>
        client.say(wire([0x6e8a278c, 4], [1, 2], [6, 2], [asked.cookie, 8], [0, 8], [2n ** 60n, 8])),
      /the length of a payload is/,
    ],
  };
  for (const [name, [answer, words]] of Object.entries(cases)) {
    test(`and a reply ${name} is told so`, async () => {
      const opened = await diskAnswered(answer, extended);
      await expect(opened.extents(0, 512)).rejects.toMatchObject(eio(words));
    });
  }
});
