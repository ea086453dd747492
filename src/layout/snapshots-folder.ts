import { StillError } from '../errors.js';
import { type GuestSource, parseSnapshotName, type Snapshot } from '../guests/guest.js';
import { type Name, nameFromText, nameToText } from '../name.js';
import { SharedWait } from '../shared-wait.js';
import { type Time, timeFromDate } from '../time.js';
import { folderAttributes, type LayoutContext, shortly } from './context.js';
import type { Child, FolderNode, NodeAttributes, Row } from './node.js';
import { rowsInOrder } from './row-order.js';
import { ShownSnapshot, SnapshotFolder } from './snapshot-folder.js';

/** `guests/<guest>/snapshots/`: mkdir takes a snapshot, rmdir ends it. */
export class SnapshotsFolder implements FolderNode {
  readonly type = 'directory';
  readonly #context: LayoutContext;
  readonly #guest: GuestSource;
  readonly #shown = new Map<Name, ShownSnapshot>();
  readonly #ending = new Map<Snapshot, Promise<void>>();
  /** Names that the kernel has in hand: it learns by the answer what became of them. */
  readonly #inHand = new Set<Name>();
  #listed: readonly Snapshot[] = [];
  #modified: Time;

  constructor(
    context: LayoutContext,
    readonly path: Name,
    readonly parent: FolderNode,
    guest: GuestSource,
  ) {
    this.#context = context;
    this.#guest = guest;
    this.#modified = context.began;
  }

  async attributes(): Promise<NodeAttributes> {
    const folders = this.#current().size;
    const modified = this.#modified;
    return folderAttributes(this.#context, { folders, modified, freshSeconds: shortly });
  }

  async child(name: Name): Promise<Child> {
    const shown = this.#current().get(name);
    return { node: shown && this.#folder(shown), freshSeconds: shortly };
  }

  async rows(): Promise<readonly Row[]> {
    const shown = [...this.#current()];
    return rowsInOrder(shown.map(([name, { still }]) => ({ name, type: 'directory', path: still.path })));
  }

  async make(name: Name, signal: AbortSignal): Promise<FolderNode> {
    const parsed = parseSnapshotName(nameToText(name));
    if (!parsed) {
      throw new StillError(
        'EINVAL',
        `${nameToText(name)} can't be a snapshot's name: NAME or CHAIN@NAME, each of at most 63 letters, digits, ".", "_" and "-"`,
      );
    }
    return this.#holding(name, async () => {
      const snapshot = await this.#guest.take(parsed, signal);
      if (signal.aborted) {
        // Taken too late for whoever asked: they are told that there is none.
        await this.#end(snapshot);
        throw signal.reason;
      }
      const shown = this.#current().get(name);
      if (shown?.snapshot === snapshot) return this.#folder(shown);
      throw new StillError('EIO', `the snapshot ${nameToText(name)} ended as soon as it was taken`);
    });
  }

  async remove(name: Name, signal: AbortSignal): Promise<void> {
    const shown = this.#current().get(name);
    if (!shown) throw new StillError('ENOENT', `there is no snapshot ${nameToText(name)}`);
    // Whoever stops waiting does not end the ending.
    await this.#holding(name, () => new SharedWait(() => this.#end(shown.snapshot)).wait(signal));
  }

  /** The guest has told that a snapshot came, went, or says something else of itself. */
  changed(snapshot: Snapshot): void {
    const before = this.#shown.get(nameOf(snapshot));
    const after = this.#current().get(nameOf(snapshot));
    if (!after || after !== before || after.snapshot !== snapshot) return;
    this.#context.changes.texts(after.still.path);
    // Only then, for the kernel takes a name away only when nobody is at work in the folder: an rmdir would hold that up, and a daemon that
    // is killed meanwhile would never end.
    if (after.hasOtherProblems()) this.#context.changes.problems(after.still.path);
  }

  /** The snapshots that are open now, by name; what came and went is told. */
  #current(): ReadonlyMap<Name, ShownSnapshot> {
    const { snapshots } = this.#guest;
    if (snapshots === this.#listed) return this.#shown;
    this.#listed = snapshots;
    this.#modified = timeFromDate(new Date());
    const open = new Set(snapshots);
    for (const [name, { snapshot, still }] of this.#shown) {
      if (open.has(snapshot)) continue;
      this.#shown.delete(name);
      this.#context.ended(still);
      this.#tell(name);
    }
    for (const snapshot of snapshots) {
      const name = nameOf(snapshot);
      if (this.#shown.has(name)) continue;
      this.#shown.set(name, new ShownSnapshot(snapshot, `${this.path}/${snapshot.id}` as Name));
      this.#tell(name);
    }
    return this.#shown;
  }

  /** Changes a name for the kernel, which knows by itself what has become of it unless that fails. */
  async #holding<T>(name: Name, change: () => Promise<T>): Promise<T> {
    this.#inHand.add(name);
    try {
      const made = await change();
      this.#current();
      return made;
    } catch (error) {
      this.#inHand.delete(name);
      this.#current();
      this.#tell(name);
      throw error;
    } finally {
      this.#inHand.delete(name);
    }
  }

  #tell(name: Name): void {
    if (this.#inHand.has(name)) this.#context.changes.node(this.path);
    else this.#context.changes.entry(this.path, name);
  }

  /** Ends a snapshot, once. What is left of it is logged, whoever still waits. */
  #end(snapshot: Snapshot): Promise<void> {
    const under = this.#ending.get(snapshot);
    if (under) return under;
    const ending = snapshot
      .end()
      .catch((error: unknown) => {
        this.#context.log.warn({ error }, `the snapshot ${snapshot.name.folder} did not end in good order`);
        throw error;
      })
      .finally(() => this.#ending.delete(snapshot));
    ending.catch(() => undefined);
    this.#ending.set(snapshot, ending);
    return ending;
  }

  #folder(shown: ShownSnapshot): SnapshotFolder {
    return new SnapshotFolder(this.#context, this, shown);
  }
}

function nameOf({ name }: Snapshot): Name {
  return nameFromText(name.folder);
}
