/**
 * Turns a program's absolute addresses back into the relative ones of its calls and jumps, in place. The numbers are
 * the filter ids of the .xz format, section 5.3.2; bcj filters are for the whole block, which begins at address 0.
 */
export const branchFilters: ReadonlyMap<number, (code: Buffer) => void> = new Map([
  [4, undoX86],
  [5, undoPowerPc],
  [7, undoArm],
  [8, undoArmThumb],
  [9, undoSparc],
  [10, undoArm64],
]);

const allowed = [true, true, true, false, true, false, false, false];
const bitOfMask = [0, 1, 2, 2, 3, 3, 3, 3];

/** CALL (E8) and JMP (E9) with 32 bits; opcodes close before one tell whether it is one at all. */
function undoX86(code: Buffer): void {
  let previous = -1;
  let mask = 0;
  for (let at = 0; at + 4 < code.length; at++) {
    if (((code[at] as number) & 0xfe) !== 0xe8) continue;
    const gap = at - previous;
    previous = at;
    if (gap > 3) mask = 0;
    else {
      mask = (mask << (gap - 1)) & 7;
      if (mask !== 0 && (!allowed[mask] || isSign(code[at + 4 - (bitOfMask[mask] as number)] as number))) {
        mask = (mask << 1) | 1;
        continue;
      }
    }
    if (!isSign(code[at + 4] as number)) {
      mask = (mask << 1) | 1;
      continue;
    }
    let target = (code.readInt32LE(at + 1) - (at + 5)) | 0;
    // The encoder turns an address over so often at most.
    for (let turns = 0; mask !== 0 && turns < 4; turns++) {
      const bits = (bitOfMask[mask] as number) * 8;
      if (!isSign((target >>> (24 - bits)) & 0xff)) break;
      target = ((target ^ (2 ** (32 - bits) - 1)) - (at + 5)) | 0;
    }
    code.writeInt32LE((target << 7) >> 7, at + 1);
    at += 4;
  }
}

function isSign(byte: number): boolean {
  return byte === 0 || byte === 0xff;
}

function undoPowerPc(code: Buffer): void {
  for (let at = 0; at + 4 <= code.length; at += 4) {
    const instruction = code.readUInt32BE(at);
    if (((instruction & 0xfc000003) | 0) !== 0x48000001) continue;
    code.writeUInt32BE((((instruction & 0x03fffffc) - at) & 0x03fffffc) | 0x48000001, at);
  }
}

function undoArm(code: Buffer): void {
  for (let at = 0; at + 4 <= code.length; at += 4) {
    if (code[at + 3] !== 0xeb) continue;
    const address = (code.readUIntLE(at, 3) << 2) - (at + 8);
    code.writeUIntLE((address >> 2) & 0xffffff, at, 3);
  }
}

function undoArmThumb(code: Buffer): void {
  for (let at = 0; at + 4 <= code.length; at += 2) {
    const high = code.readUInt16LE(at);
    const low = code.readUInt16LE(at + 2);
    if ((high & 0xf800) !== 0xf000 || (low & 0xf800) !== 0xf800) continue;
    const packed = ((high & 0x7ff) << 11) | (low & 0x7ff);
    const address = ((packed << 1) - (at + 4)) >> 1;
    code.writeUInt16LE(0xf000 | ((address >> 11) & 0x7ff), at);
    code.writeUInt16LE(0xf800 | (address & 0x7ff), at + 2);
    at += 2;
  }
}

function undoSparc(code: Buffer): void {
  for (let at = 0; at + 4 <= code.length; at += 4) {
    const instruction = code.readUInt32BE(at);
    if (instruction >>> 22 !== 0x100 && instruction >>> 22 !== 0x1ff) continue;
    const address = ((instruction << 2) - at) >>> 2;
    const sign = (0x40000000 - (address & 0x400000)) | 0;
    code.writeInt32BE(sign | 0x40000000 | (address & 0x3fffff), at);
  }
}

/** BL, and ADRP within 512 MiB. */
function undoArm64(code: Buffer): void {
  for (let at = 0; at + 4 <= code.length; at += 4) {
    const instruction = code.readUInt32LE(at);
    if (instruction >>> 26 === 0x25) {
      code.writeInt32LE(0x94000000 | ((instruction - (at >>> 2)) & 0x03ffffff), at);
    } else if ((instruction & 0x9f000000) >>> 0 === 0x90000000) {
      const pages = ((instruction >>> 29) & 3) | ((instruction >>> 3) & 0x1ffffc);
      if (((pages + 0x020000) & 0x1c0000) !== 0) continue;
      const near = pages - (at >>> 12);
      const sign = -(near & 0x020000) & 0xe00000;
      const low = ((near & 3) << 29) | ((near & 0x03fffc) << 3);
      code.writeInt32LE((instruction & 0x9000001f) | low | sign, at);
    }
  }
}
