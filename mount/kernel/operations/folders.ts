import { StillError } from '../../../src/errors.js';
import { isShownName, type Name } from '../../../src/name.js';
import type { Entry } from '../../../src/tree/tree.js';
import { foundAt } from '../../forest/forest.js';
import type { OpenFolder } from '../open-handles.js';
import type { Answer, MountState, Operation } from '../operation.js';
import { Opcode } from '../protocol/opcode.js';
import { Listing, OpenFlag, openReply, replyWith } from '../protocol/reply.js';
import { parseHandle, parseReadFolder } from '../protocol/request.js';

// Cookies that no tree gives (Entry.cookie).
const afterItself = 2n ** 63n - 3n;
const afterParent = 2n ** 63n - 2n;

const openFolder: Operation = async (state, node, _body, signal) => {
  const attributes = await state.forest.attributes(node, signal);
  if (attributes.type !== 'directory')
    throw new StillError('ENOTDIR', `${state.forest.pathOf(node)} is no folder`);
  const lasting = attributes.freshSeconds === Number.POSITIVE_INFINITY;
  const letGo = state.forest.hold(node);
  const handle = state.folders.add({ node, lasting, after: 0n, entries: [], letGo });
  return {
    message: openReply(handle, lasting ? OpenFlag.CACHE_DIR | OpenFlag.KEEP_CACHE : 0),
    undelivered: () => state.folders.remove(handle).letGo(),
  };
};

const releaseFolder: Operation = async (state, _node, body) => {
  state.folders.remove(parseHandle(body)).letGo();
  return replyWith(0);
};

const readFolder =
  (plus: boolean): Operation =>
  async (state, _node, body, signal) => {
    const { handle, after, size } = parseReadFolder(body);
    const folder = state.folders.get(handle);
    const listing = new Listing(size, plus);
    const rows = new Rows(state, folder, listing);
    if (after === 0n) rows.addItself();
    if (after === 0n || after === afterItself) await rows.addParent(signal);
    await rows.addEntries(after === afterItself || after === afterParent ? 0n : after, signal);
    return rows.answer();
  };

/** Fills one listing, and can take back what it told the kernel. */
class Rows {
  readonly #state: MountState;
  readonly #folder: OpenFolder;
  readonly #listing: Listing;
  readonly #told: bigint[] = [];

  constructor(state: MountState, folder: OpenFolder, listing: Listing) {
    this.#state = state;
    this.#folder = folder;
    this.#listing = listing;
  }

  addItself(): void {
    const { number } = this.#folder.node;
    this.#listing.add({ name: '.' as Name, type: 'directory', number, cookie: afterItself });
  }

  /** `..` tells the parent's number, as far as that costs no more than a look-up. */
  async addParent(signal: AbortSignal): Promise<void> {
    const { forest } = this.#state;
    const { node, lasting } = this.#folder;
    const name = '..' as Name;
    const known = lasting ? forest.foundIn(node) : undefined;
    let number = known ?? node.number;
    if (known === undefined && node !== forest.root) {
      const parent = await forest.lookup(node, name, signal);
      if (parent.node) {
        number = parent.node.number;
        forest.forget(number, 1);
      }
    }
    this.#listing.add({ name, type: 'directory', number, cookie: afterParent });
  }

  async addEntries(after: bigint, signal: AbortSignal): Promise<void> {
    const folder = this.#folder;
    const { tree } = folder.node.planted;
    let position = after;
    // From the start means anew: rewinddir(3) is to see what has changed.
    let place = after === 0n ? undefined : placeAfter(folder, after);
    for (;;) {
      if (place === undefined || place >= folder.entries.length) {
        // What was listed so far waits for nothing: the kernel comes back for the rest.
        if (!this.#listing.empty && place !== undefined) return;
        const entries = await tree.list(folder.node.inode, position, signal);
        folder.after = position;
        folder.entries = entries;
        place = 0;
        if (entries.length === 0) return;
      }
      const entry = folder.entries[place];
      if (!entry || !this.#add(entry)) return;
      position = entry.cookie;
      place++;
    }
  }

  answer(): Answer {
    const { forest } = this.#state;
    return {
      message: this.#listing.message,
      undelivered: () => {
        for (const number of this.#told) forest.forget(number, 1);
      },
    };
  }

  #add(entry: Entry): boolean {
    if (!isShownName(entry.name)) return true;
    if (!this.#listing.fits(entry.name.length)) return false;
    const { forest, generation } = this.#state;
    const { node: folder } = this.#folder;
    const number = forest.numberOf(folder.planted, entry.inode);
    const row = { name: entry.name, type: entry.type, number, cookie: entry.cookie };
    const { found } = entry;
    if (!this.#listing.plus || !found || found.attributes.graft) {
      this.#listing.add(row);
      return true;
    }
    const { attributes, freshSeconds } = found;
    const node = { number, planted: folder.planted, inode: entry.inode };
    forest.remember(node, foundAt(folder, entry.name, attributes));
    this.#told.push(number);
    this.#listing.add(row, { number, generation, attributes, freshSeconds });
    return true;
  }
}

/** Where in the entries at hand those after a cookie begin; undefined where they are not at hand. */
function placeAfter(folder: OpenFolder, after: bigint): number | undefined {
  if (folder.entries.length === 0) return undefined;
  if (after === folder.after) return 0;
  const place = folder.entries.findIndex((entry) => entry.cookie === after);
  return place < 0 ? undefined : place + 1;
}

export const folderOperations: ReadonlyArray<readonly [number, Operation]> = [
  [Opcode.OPENDIR, openFolder],
  [Opcode.READDIR, readFolder(false)],
  [Opcode.READDIRPLUS, readFolder(true)],
  [Opcode.RELEASEDIR, releaseFolder],
  [Opcode.FSYNCDIR, async () => replyWith(0)],
];
