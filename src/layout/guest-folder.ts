import { isAbort, StillError } from '../errors.js';
import type { GuestFile, GuestSource, Snapshot } from '../guests/guest.js';
import { isEntryName, type Name, nameToText } from '../name.js';
import { timeFromDate } from '../time.js';
import { folderAttributes, type LayoutContext, shortly } from './context.js';
import { FreshValue } from './fresh-value.js';
import type { Child, FolderNode, Node, NodeAttributes, Row } from './node.js';
import { rowsInOrder } from './row-order.js';
import { SnapshotsFolder } from './snapshots-folder.js';
import { jsonText, madeText, type Text, TextFile } from './text-file.js';

const configurationName = 'guest.conf' as Name;
const descriptionName = 'guest.json' as Name;
const snapshotsName = 'snapshots' as Name;

/**
 * `guests/<guest>/`: what a guest is at present, and its snapshots. A guest that does not answer holds up nothing but
 * what only it can tell.
 */
export class GuestFolder implements FolderNode {
  readonly type = 'directory';
  readonly #context: LayoutContext;
  readonly #guest: GuestSource;
  readonly #snapshots: SnapshotsFolder;
  readonly #description: TextFile;
  readonly #configuration: FreshValue<ReadonlyMap<Name, GuestFile>>;

  constructor(
    context: LayoutContext,
    readonly path: Name,
    readonly parent: FolderNode,
    guest: GuestSource,
  ) {
    this.#context = context;
    this.#guest = guest;
    this.#snapshots = new SnapshotsFolder(context, this.#pathOf(snapshotsName), this, guest);
    this.#description = new TextFile(
      context,
      this.#pathOf(descriptionName),
      this,
      madeText(describer(guest)),
    );
    this.#configuration = new FreshValue(shortly, async (signal) => {
      const files = await guest.configuration(signal);
      return new Map(files.filter(({ name }) => isEntryName(name)).map((file) => [file.name, file]));
    });
  }

  async attributes(): Promise<NodeAttributes> {
    const modified = this.#context.began;
    return folderAttributes(this.#context, { folders: 1, modified, freshSeconds: Infinity });
  }

  async child(name: Name, signal: AbortSignal): Promise<Child> {
    const own = this.#ownNodes.find(([known]) => known === name);
    if (own) return { node: own[1], freshSeconds: Infinity };
    const files = await this.#configuration.get(signal);
    return { node: files.has(name) ? this.#file(name) : undefined, freshSeconds: shortly };
  }

  async rows(signal: AbortSignal): Promise<readonly Row[]> {
    const own = this.#ownNodes.map(([name, { type, path }]) => ({ name, type, path }));
    const files = (await this.#fileNames(signal)).map((name) => {
      return { name, type: 'file' as const, path: this.#pathOf(name) };
    });
    return rowsInOrder([...own, ...files]);
  }

  /** Has the kernel told of the guest's snapshots as they come, change and go. Returns what ends that. */
  watch(): () => void {
    return this.#guest.watch((snapshot: Snapshot) => {
      this.#snapshots.changed(snapshot);
      this.#context.changes.text(this.#description);
    });
  }

  get #ownNodes(): ReadonlyArray<readonly [Name, Node]> {
    return [
      [snapshotsName, this.#snapshots],
      [descriptionName, this.#description],
    ];
  }

  /** A configuration that can't be read is listed, and its look-up says why. */
  async #fileNames(signal: AbortSignal): Promise<Name[]> {
    try {
      const files = await this.#configuration.get(signal);
      return [...files.keys()].filter((name) => name !== snapshotsName && name !== descriptionName);
    } catch (error) {
      if (signal.aborted || isAbort(error)) throw error;
      return [configurationName];
    }
  }

  #file(name: Name): TextFile {
    const configuration = this.#configuration;
    return new TextFile(this.#context, this.#pathOf(name), this, {
      async get(signal) {
        const file = (await configuration.get(signal)).get(name);
        if (file) return file;
        throw new StillError('ENOENT', `the guest has no ${nameToText(name)} any more`);
      },
      expire: () => configuration.expire(),
    });
  }

  #pathOf(name: Name): Name {
    return `${this.path}/${name}` as Name;
  }
}

/** Makes the text of `guest.json`; its time is when it came to say what it says. */
function describer(guest: GuestSource): (signal: AbortSignal) => Promise<Text> {
  let last: Text | undefined;
  return async (signal) => {
    const text = jsonText(await guest.describe(signal), timeFromDate(new Date()));
    if (!last?.bytes.equals(text.bytes)) last = text;
    return last;
  };
}
