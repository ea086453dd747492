import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** The export that a guest's open snapshot is read through, for others: an NBD URI, by stillfs's record in its folder for state. */
export async function snapshotExport(state: string): Promise<string> {
  const records = join(state, 'guests', '100');
  const name = (await readdir(records)).find((each) => each.endsWith('.snapshot.json'));
  const record: { socket: string; disks: Array<{ exportId: string }> } = JSON.parse(
    await readFile(join(records, name ?? ''), 'utf8'),
  );
  return `nbd+unix:///${record.disks[0]?.exportId}?socket=${record.socket}`;
}
