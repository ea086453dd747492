import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { hasCode, StillError } from '../../errors.js';

const shape = z.looseObject({ type: z.enum(['qemu', 'lxc']) });

/** Whether a guest of a mount is a VM or a container (`guest.json`). ENOENT: there is no such guest; EIO: it is not understood. */
export async function guestType(mount: string, guest: string): Promise<'qemu' | 'lxc'> {
  const path = join(mount, 'guests', guest, 'guest.json');
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error;
    throw new StillError('ENOENT', `the mount ${mount} shows no guest ${guest}`);
  }
  const parsed = shape.safeParse(JSON.parse(text));
  if (parsed.success) return parsed.data.type;
  throw new StillError('EIO', `${path} is not understood: it tells no type`);
}
