/** Opens an image of a store (folder, file, format), says its first byte at 1 MiB, and keeps it open until it is told to stop. */
import { once } from 'node:events';
import { openForeignImage } from '../../../../src/disks/foreign/foreign-image.js';
import { StoreFolder } from '../../../../src/disks/store-folder.js';
import { nameFromText } from '../../../../src/name.js';

const [folder = '', file = ''] = process.argv.slice(2);
const store = await StoreFolder.open(folder);
const disk = await openForeignImage(store, nameFromText(file), 'vdi');
const byte = Buffer.alloc(1);
await disk.read(1 << 20, byte);
process.stdout.write(`uid ${process.geteuid?.()} byte ${byte[0]}\n`);
await once(process.stdin.resume(), 'end');
await disk.close();
store.close();
