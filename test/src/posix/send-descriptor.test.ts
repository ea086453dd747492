import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { receiveDescriptor, socketPair } from '../../../src/posix/received-descriptor.js';
import { sendDescriptors } from '../../../src/posix/send-descriptor.js';

let here: number;
let there: number;
beforeEach(() => {
  [here, there] = socketPair();
});
afterEach(() => {
  closeSync(here);
  closeSync(there);
});

describe('a descriptor that is passed over a Unix socket', () => {
  it('is the same file there, and still open here', async () => {
    const file = openSync('/etc/passwd', 'r');
    expect(sendDescriptors(here, Buffer.from('message'), [file])).toBe(7);
    const received = await receiveDescriptor(there);
    if (received === undefined) throw new Error('nothing came');
    expect(received).not.toBe(file);
    expect(fstatSync(received).ino).toBe(fstatSync(file).ino);
    closeSync(received);
    closeSync(file);
  });

  it('comes with the first byte of its message and no earlier one', async () => {
    // Bytes with a descriptor are never joined with those before them.
    sendDescriptors(here, Buffer.from('a'), [here]);
    sendDescriptors(here, Buffer.from('b'), [there]);
    const [first, second] = [await receiveDescriptor(there), await receiveDescriptor(there)];
    expect([first, second].map((descriptor) => fstatSync(descriptor ?? -1).ino)).toEqual(
      [here, there].map((descriptor) => fstatSync(descriptor).ino),
    );
    for (const descriptor of [first, second]) if (descriptor !== undefined) closeSync(descriptor);
  });

  it('is not sent into a socket that is full, and the message neither', () => {
    const bulk = Buffer.alloc(64 * 1024);
    let sent = 0;
    const fill = (): never => {
      for (;;) sent += sendDescriptors(here, bulk, [here]);
    };
    expect(fill).toThrow(expect.objectContaining({ code: 'EAGAIN' }));
    let came = 0;
    const rest = Buffer.alloc(1024 * 1024);
    while (came < sent) came += readSync(there, rest);
    expect(came).toBe(sent);
  });

  it('fails where there is no such descriptor, no socket, or nobody on the other side', () => {
    expect(() => sendDescriptors(here, Buffer.from('x'), [987_654])).toThrow(/EBADF/);
    const file = openSync('/etc/passwd', 'r');
    expect(() => sendDescriptors(file, Buffer.from('x'), [file])).toThrow(/ENOTSOCK/);
    closeSync(file);
    const [near, far] = socketPair();
    closeSync(far);
    expect(() => sendDescriptors(near, Buffer.from('x'), [near])).toThrow(/EPIPE/);
    closeSync(near);
    expect(() => sendDescriptors(here, Buffer.alloc(0), [here])).toThrow(RangeError);
  });
});
