import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { GuestAgent } from '../../../../../src/guests/qemu/agent/guest-agent.js';
import { QmpError } from '../../../../../src/guests/qemu/qmp/qmp-error.js';
import { ScriptedAgent } from './scripted-agent.js';

const guest = 'guest 100';
const soon = { deadlineMilliseconds: 30 };
let inside: ScriptedAgent;
let agent: GuestAgent;
beforeEach(async () => {
  inside = await ScriptedAgent.listen();
  agent = await GuestAgent.connect(inside.server.path, guest);
});
afterEach(async () => {
  agent.close();
  await inside.server.close();
});

describe('the agent of a guest', () => {
  it('freezes, tells so, and thaws', async () => {
    let frozen = 0;
    inside.answer = (command) => {
      if (command === 'guest-fsfreeze-status') return frozen > 0 ? 'frozen' : 'thawed';
      frozen = command === 'guest-fsfreeze-freeze' ? 3 : 0;
      return 3;
    };
    await agent.ping();
    expect(await agent.freeze()).toBe(3);
    expect(await agent.status()).toBe('frozen');
    expect(await agent.thaw()).toBe(3);
    expect(await agent.status()).toBe('thawed');
  });

  it('is understood past what was said to others before', async () => {
    inside.sync = (id, socket) => {
      socket.write(
        `rn": "half}{ an answer"}\n{"return": "thawed"}\n{"error": {"class": "GenericError", "desc": "x"}}`,
      );
      socket.write(Buffer.from(`\xff{"return": ${id + 1}}\n{"ret\xff{"return": ${id}}\n`, 'latin1'));
    };
    inside.answer = () => 'frozen';
    expect(await agent.status()).toBe('frozen');
  });

  it('refuses in its own words, fit for a terminal', async () => {
    inside.answer = (_, socket) => {
      const desc = `disabled\u001b[2J${'x'.repeat(5000)}`;
      socket.write(`${JSON.stringify({ error: { class: 'CommandNotFound', desc } })}\n`);
    };
    const refusal = await agent.freeze().catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(QmpError);
    expect(refusal).toMatchObject({
      code: 'EOPNOTSUPP',
      errorClass: 'CommandNotFound',
      message: expect.stringMatching(
        /^the agent of guest 100 refused guest-fsfreeze-freeze: disabled\?\[2Jx{1,300}$/,
      ),
    });
  });

  it.each([
    ['another type', { frozen: 1 }],
    ['a number that is none', 1.5],
  ])('is not believed when it returns %s', async (_, value) => {
    inside.answer = () => value;
    await expect(agent.thaw()).rejects.toMatchObject({ code: 'EPROTO' });
  });

  it('can`t fill the memory', async () => {
    inside.sync = (_, socket) => socket.write(`{"return": "${'x'.repeat(3_000_000)}`);
    await expect(agent.ping()).rejects.toMatchObject({ code: 'EPROTO' });
  });

  it('does one thing at a time', async () => {
    const first = agent.ping();
    await expect(agent.status()).rejects.toMatchObject({ code: 'EBUSY' });
    await first;
  });

  it('fails what waits when the channel is closed, from either end', async () => {
    inside.answer = (_, socket) => socket.destroy() && undefined;
    await expect(agent.ping()).rejects.toMatchObject({
      code: 'ECONNRESET',
      message: expect.stringContaining(guest),
    });
    agent = await GuestAgent.connect(inside.server.path, guest);
    const waiting = agent.ping();
    agent.close();
    await expect(waiting).rejects.toMatchObject({ code: 'ECANCELED' });
    await expect(agent.thaw()).rejects.toMatchObject({ code: 'ECANCELED' });
  });

  it('has no channel where nobody listens', async () => {
    await expect(GuestAgent.connect(`${inside.server.path}-absent`, guest)).rejects.toMatchObject({
      code: 'ENOENT',
      message: expect.stringMatching(/the agent of guest 100 .*nobody listens/),
    });
  });
});

describe('an agent that does not answer', () => {
  it('is given up at the deadline, and is never left with a freeze', async () => {
    const asked: number[] = [];
    const { sync } = inside;
    inside.sync = (id) => asked.push(id);
    await expect(agent.freeze(soon)).rejects.toMatchObject({
      code: 'ETIMEDOUT',
      message: expect.stringMatching(/agent of guest 100 does not answer .*another program/),
    });
    // It comes to life.
    inside.sync = sync;
    for (const id of asked) inside.server.sockets[0]?.write(Buffer.from(`\xff{"return": ${id}}\n`, 'latin1'));
    await agent.ping();
    expect(inside.done).toEqual(['guest-ping']);
  });

  it('is sent the thaw all the same', async () => {
    const { sync } = inside;
    inside.sync = () => undefined;
    inside.answer = () => 2;
    await expect(agent.thaw(soon)).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    await inside.reached(1);
    expect(inside.done).toEqual(['guest-fsfreeze-thaw']);
    inside.sync = sync;
    expect(await agent.thaw()).toBe(2);
  });
});

describe('a freeze that takes too long', () => {
  let finish: (count: number) => void;
  beforeEach(() => {
    inside.answer = (command) => {
      if (command !== 'guest-fsfreeze-freeze') return 1;
      return new Promise<number>((resolve) => {
        finish = resolve;
      });
    };
  });

  it('is thawed as soon as it is done, after the deadline', async () => {
    await expect(agent.freeze({ deadlineMilliseconds: 100 })).rejects.toMatchObject({
      code: 'ETIMEDOUT',
      message: expect.stringMatching(/did not finish guest-fsfreeze-freeze/),
    });
    finish(1);
    await inside.reached(2);
    expect(inside.done).toEqual(['guest-fsfreeze-freeze', 'guest-fsfreeze-thaw']);
    inside.answer = () => 'thawed';
    expect(await agent.status()).toBe('thawed');
  });

  it('is thawed as soon as it is done, when the caller leaves', async () => {
    const abort = new AbortController();
    const freezing = agent.freeze({ signal: abort.signal });
    await inside.reached(1);
    abort.abort(new Error('left'));
    await expect(freezing).rejects.toThrow('left');
    finish(1);
    await inside.reached(2);
    expect(inside.done).toEqual(['guest-fsfreeze-freeze', 'guest-fsfreeze-thaw']);
  });

  it('gives way to a thaw', async () => {
    const freezing = agent.freeze();
    await inside.reached(1);
    const thawing = agent.thaw();
    await expect(freezing).rejects.toMatchObject({ code: 'ECANCELED' });
    finish(1);
    expect(await thawing).toBe(1);
    expect(inside.done.at(-1)).toBe('guest-fsfreeze-thaw');
  });
});
