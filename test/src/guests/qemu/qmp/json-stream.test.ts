import { describe, expect, it } from 'vitest';
import { JsonStream } from '../../../../../src/guests/qemu/qmp/json-stream.js';

const bytes = (text: string): Buffer => Buffer.from(text, 'utf8');

function all(stream: JsonStream, ...chunks: Uint8Array[]): object[] {
  return chunks.flatMap((chunk) => [...stream.take(chunk)]);
}

const strict = (): JsonStream => new JsonStream({ mostBytes: 1000 });
const lenient = (): JsonStream => new JsonStream({ mostBytes: 1000, skipsNonsense: true });

describe('a stream of JSON objects', () => {
  const messages = [{ a: 'ein "Gerät"\\', b: [{}, { c: '}{][' }] }, { name: 'Größe 💾\n' }, {}];

  it('gives whole objects wherever the stream is cut, within characters too', () => {
    const sent = bytes(messages.map((message) => `${JSON.stringify(message)}\r\n`).join(''));
    for (let cut = 0; cut <= sent.length; cut++)
      expect(all(strict(), sent.subarray(0, cut), sent.subarray(cut))).toEqual(messages);
    expect(all(strict(), ...Array.from(sent, (byte) => Uint8Array.of(byte)))).toEqual(messages);
  });

  it('reads objects on many lines and several on one, as a monitor with pretty=on and others send them', () => {
    expect(all(strict(), bytes(JSON.stringify(messages[0], null, 4) + JSON.stringify(messages[1])))).toEqual(
      messages.slice(0, 2),
    );
  });

  it.each([
    [
      'a monitor for people',
      "QEMU 7.2.22 monitor - type 'help' for more information\r\n(qemu) ",
      /QEMU 7\.2/,
    ],
    ['a value that is no object', '17\n', /no JSON object/],
    ['brackets that do not match', '{"a": [1}}\n', /no JSON/],
    ['a string over the end of a line', '{"a": "\n"}', /control characters/],
    ['what has no end', `{"a": "${'x'.repeat(2000)}`, /more than 1000 bytes/],
    ['a long message', `{"a": "${'x'.repeat(2000)}"}\n`, /more than 1000 bytes/],
    ['braces without end', '{"a":'.repeat(2000), /more than 1000 bytes|deeper/],
  ])('refuses %s', (_, sent, reason) => {
    expect(() => all(strict(), bytes(sent))).toThrow(reason);
  });

  it('refuses bytes that are no UTF-8', () => {
    expect(() => all(strict(), Buffer.from([0x7b, 0x22, 0xc3, 0x28, 0x22, 0x3a, 0x31, 0x7d]))).toThrow(
      /no JSON/,
    );
  });

  it('refuses what is long before it is whole, so that memory is bounded', () => {
    const stream = strict();
    all(stream, bytes(`{"a": "${'x'.repeat(500)}`));
    expect(() => all(stream, bytes('x'.repeat(600)))).toThrow(/more than 1000 bytes/);
  });

  it('gives what came before nonsense', () => {
    const given: object[] = [];
    expect(() => {
      for (const message of strict().take(bytes('{"a":1} oops'))) given.push(message);
    }).toThrow();
    expect(given).toEqual([{ a: 1 }]);
  });
});

describe('a stream of JSON objects that is entered in the middle', () => {
  const before = '{"return": {"x}{": "a\\"b{", "list": [{"y": 1}, "}"]}, "id": "old {\\" one"}';

  it.each([
    '\r\n',
    '\n',
    '\xff',
  ])('finds the next message after the rest of one, wherever that begins (%j)', (end) => {
    for (let cut = 1; cut < before.length; cut++) {
      const sent = Buffer.from(`${before.slice(cut)}${end}{"return": {}, "id": "new"}\r\n`, 'latin1');
      expect(all(lenient(), sent).at(-1)).toEqual({ return: {}, id: 'new' });
    }
  });
});
