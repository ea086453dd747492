import { afterEach, describe, expect, it, vi } from 'vitest';
import { Lending } from '../../../src/layout/lending.js';

class Thing {
  closed = false;

  async close(): Promise<void> {
    this.closed = true;
  }
}

const unending = new AbortController().signal;
const failed = (error: unknown): void => {
  throw error;
};

afterEach(() => {
  vi.useRealTimers();
});

describe('lending', () => {
  it('opens once for all who ask at the same time, and again only after it was closed', async () => {
    const lending = new Lending<Thing>({ mostIdle: 4, idleMilliseconds: 1000, closeFailed: failed });
    let opens = 0;
    const open = async (): Promise<Thing> => {
      opens++;
      return new Thing();
    };
    const loans = await Promise.all([1, 2, 3].map(() => lending.borrow('a', open, unending)));
    expect(new Set(loans.map(({ value }) => value)).size).toBe(1);
    for (const loan of loans) loan.release();
    await lending.borrow('a', open, unending);
    expect(opens).toBe(1);
    await lending.close();
    expect(loans[0]?.value.closed).toBe(true);
  });

  it('keeps what was used last when too many are idle, and never closes what is lent', async () => {
    const lending = new Lending<Thing>({ mostIdle: 2, idleMilliseconds: 1000, closeFailed: failed });
    const borrow = (key: string) => lending.borrow(key, async () => new Thing(), unending);
    const [held, ...loans] = await Promise.all(['held', 'a', 'b', 'c'].map(borrow));
    await new Promise(setImmediate); // the openings' own uses have ended
    for (const loan of loans) loan.release();
    expect(loans.map(({ value }) => value.closed)).toEqual([true, false, false]);
    expect(held?.value.closed).toBe(false);
    await lending.close();
  });

  it('counts a loan that is given back twice once', async () => {
    const lending = new Lending<Thing>({ mostIdle: 0, idleMilliseconds: 1000, closeFailed: failed });
    const borrow = () => lending.borrow('a', async () => new Thing(), unending);
    const [one, two] = await Promise.all([borrow(), borrow()]);
    await new Promise(setImmediate); // the opening's own use has ended
    one?.release();
    one?.release();
    expect(two?.value.closed).toBe(false);
    two?.release();
    expect(two?.value.closed).toBe(true);
  });

  it('keeps no more that nobody uses than its memory allows, least recently used first to go', async () => {
    const lending = new Lending<Thing>({
      ...{ mostIdle: 9, mostIdleBytes: 100, bytesOf: () => 40 },
      ...{ idleMilliseconds: 1000, closeFailed: failed },
    });
    const borrow = (key: string) => lending.borrow(key, async () => new Thing(), unending);
    const [one, two, three] = await Promise.all([borrow('a'), borrow('b'), borrow('c')]);
    await new Promise(setImmediate); // the openings' own uses have ended
    two?.release();
    one?.release();
    three?.release();
    expect([one, two, three].map((loan) => loan?.value.closed)).toEqual([false, true, false]);
    await lending.close();
  });

  it('closes what nobody has used for its time', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const lending = new Lending<Thing>({ mostIdle: 2, idleMilliseconds: 1000, closeFailed: failed });
    const loan = await lending.borrow('a', async () => new Thing(), unending);
    await new Promise(setImmediate);
    loan.release();
    vi.advanceTimersByTime(900);
    const again = await lending.borrow('a', async () => new Thing(), unending);
    vi.advanceTimersByTime(900);
    expect(loan.value.closed).toBe(false);
    again.release();
    vi.advanceTimersByTime(1001);
    expect(loan.value.closed).toBe(true);
  });

  it('closes what is opened after all who waited have left', async () => {
    const lending = new Lending<Thing>({ mostIdle: 2, idleMilliseconds: 1000, closeFailed: failed });
    const late = new Thing();
    let finish: () => void = () => undefined;
    const abort = new AbortController();
    const borrowing = lending.borrow(
      'a',
      () => new Promise((resolve) => (finish = () => resolve(late))),
      abort.signal,
    );
    abort.abort();
    await expect(borrowing).rejects.toMatchObject({ name: 'AbortError' });
    finish();
    await new Promise(setImmediate);
    expect(late.closed).toBe(true);
    const fresh = await lending.borrow('a', async () => new Thing(), unending);
    expect(fresh.value).not.toBe(late);
    await lending.close();
  });

  it('tries again after a failure', async () => {
    const lending = new Lending<Thing>({ mostIdle: 2, idleMilliseconds: 1000, closeFailed: failed });
    await expect(lending.borrow('a', () => Promise.reject(new Error('broken')), unending)).rejects.toThrow(
      'broken',
    );
    expect((await lending.borrow('a', async () => new Thing(), unending)).value.closed).toBe(false);
    await lending.close();
  });
});
