/** A member as a test describes it; what is left out is that of a plain, empty file. */
export interface MadeMember {
  readonly name: string | Buffer;
  readonly type?: string;
  readonly data?: string | Buffer;
  readonly target?: string;
  /** Instead of the length of `data`. */
  readonly size?: number;
  readonly mode?: number;
  readonly modified?: number;
  /** Fields of the header written over at last, by offset; the checksum is made after that. */
  readonly fields?: ReadonlyArray<readonly [offset: number, bytes: string | Buffer]>;
  readonly magic?: 'ustar' | 'gnu' | 'v7';
}

const block = 512;
export const endMark = Buffer.alloc(2 * block);

export function member(made: MadeMember): Buffer {
  const data = Buffer.from(made.data ?? '');
  const header = Buffer.alloc(block);
  Buffer.from(made.name).copy(header, 0, 0, 100);
  header.write(octal(made.mode ?? 0o644, 8), 100);
  header.write(octal(1000, 8), 108);
  header.write(octal(1001, 8), 116);
  header.write(octal(made.size ?? data.length, 12), 124);
  header.write(octal(made.modified ?? 1_700_000_000, 12), 136);
  header.write(made.type ?? '0', 156);
  header.write(made.target ?? '', 157);
  const magics = { ustar: 'ustar\0' + '00', gnu: 'ustar  \0', v7: '' };
  header.write(magics[made.magic ?? 'ustar'], 257, 'latin1');
  for (const [offset, bytes] of made.fields ?? []) Buffer.from(bytes).copy(header, offset);
  return Buffer.concat([withChecksum(header), filled(data)]);
}

/** An extended header: for the next member (`x`), or for all that follow (`g`). */
export function pax(records: Readonly<Record<string, string | Buffer>>, type = 'x'): Buffer {
  const lines = Object.entries(records).map(([key, value]) => {
    const body = Buffer.concat([Buffer.from(` ${key}=`, 'latin1'), Buffer.from(value), Buffer.from('\n')]);
    let length = body.length + 1;
    while (`${length}`.length + body.length !== length) length = `${length}`.length + body.length;
    return Buffer.concat([Buffer.from(`${length}`), body]);
  });
  return member({ name: 'PaxHeaders/x', type, data: Buffer.concat(lines) });
}

export function archive(...members: Buffer[]): Buffer {
  return Buffer.concat([...members, endMark]);
}

export function withChecksum(header: Buffer, signed = false): Buffer {
  header.fill(' ', 148, 156);
  let sum = 0;
  for (const byte of header.subarray(0, block)) sum += signed && byte >= 0x80 ? byte - 256 : byte;
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return header;
}

export function octal(value: number, width: number): string {
  return `${value.toString(8).padStart(width - 1, '0')}\0`;
}

function filled(data: Buffer): Buffer {
  return Buffer.concat([data, Buffer.alloc((block - (data.length % block)) % block)]);
}
