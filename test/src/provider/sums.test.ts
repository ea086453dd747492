import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { sumFile } from '../../../src/provider/sums/sum-file.js';
import { SumsFile } from '../../../src/provider/sums/sums-file.js';
import { digestOfZeros } from '../../../src/provider/sums/sums-format.js';
import { SumsWriter } from '../../../src/provider/sums/sums-writer.js';

const mebibyte = 2 ** 20;

describe('a file of checksums', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'stillfs-sums-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('is laid out as its description says: read here by another program', async () => {
    const path = join(folder, 'disk');
    const bytes = Buffer.concat([
      Buffer.alloc(mebibyte, 'a'),
      Buffer.alloc(mebibyte, 'b'),
      Buffer.from('short'),
    ]);
    await writeFile(path, bytes);
    await sumFile(path);
    const script = `
import hashlib, struct, sys
data, sums = open(sys.argv[1], 'rb').read(), open(sys.argv[1] + '.sums', 'rb').read()
magic, version, algorithm, block, size = struct.unpack('<16sIIQQ', sums[:40])
assert magic == b'stillfs sums\\n\\0\\0\\0' and (version, algorithm, block, size) == (1, 1, 1 << 20, len(data)), sums[:40]
assert sums[40:64] == bytes(24)
digests = [hashlib.sha256(data[at:at + block]).digest() for at in range(0, size, block)]
assert sums[64:-32] == b''.join(digests)
assert sums[-32:] == hashlib.sha256(sums[:-32]).digest()
print(len(digests))`;
    const { stdout } = await promisify(execFile)('python3', ['-c', script, path]);
    expect(stdout).toBe('3\n');
  });

  it('is begun with its parent’s, and read back', async () => {
    const sum = (text: string): Buffer => createHash('sha256').update(text).digest();
    const first = await SumsWriter.create(join(folder, 'first'), 3 * mebibyte);
    await first.set(0, Buffer.concat([sum('a'), sum('b'), sum('c')]));
    await first.finish();
    const parent = await SumsFile.open(join(folder, 'first'));
    const second = await SumsWriter.create(join(folder, 'second'), 4001 * mebibyte + 5);
    await second.takeOver(parent);
    await second.set(1, sum('new'));
    await second.fill(3, 3998, await digestOfZeros(mebibyte));
    await second.set(4001, await digestOfZeros(5));
    await second.finish();
    await parent.close();
    const read = await SumsFile.open(join(folder, 'second'));
    expect(read.blocks).toBe(4002);
    const first3 = Buffer.concat([sum('a'), sum('new'), sum('c')]).toString('hex');
    expect((await read.digests(0, 3)).toString('hex')).toBe(first3);
    const tail = [mebibyte, 5].map((length) => sum('\0'.repeat(length)));
    expect((await read.digests(4000, 100)).toString('hex')).toBe(Buffer.concat(tail).toString('hex'));
    await read.close();
  });

  it('is refused where any byte of it is another, or one is missing', async () => {
    const path = join(folder, 'disk');
    await writeFile(path, Buffer.alloc(mebibyte + 1, 'x'));
    await sumFile(path);
    const whole = await readFile(`${path}.sums`);
    for (const at of [0, 16, 20, 24, 32, 50, 64, 95, 96, whole.length - 1]) {
      const damaged = Buffer.from(whole);
      damaged.writeUInt8(damaged.readUInt8(at) ^ 0x40, at);
      await writeFile(`${path}.sums`, damaged);
      await expect(SumsFile.open(`${path}.sums`), `byte ${at}`).rejects.toThrow(/damaged|not known|begin/);
    }
    await writeFile(`${path}.sums`, whole.subarray(0, -1));
    await expect(SumsFile.open(`${path}.sums`)).rejects.toThrow(/damaged/);
    await writeFile(`${path}.sums`, '');
    await expect(SumsFile.open(`${path}.sums`)).rejects.toThrow(/begin/);
  });

  it('is not taken for whole before it is finished', async () => {
    const path = join(folder, 'unfinished');
    const writer = await SumsWriter.create(path, 2 * mebibyte);
    await writer.fill(0, 2, await digestOfZeros(mebibyte));
    await writer.close();
    await expect(SumsFile.open(path)).rejects.toThrow(/damaged/);
  });
});
