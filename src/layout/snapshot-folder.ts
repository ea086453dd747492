import { StillError } from '../errors.js';
import type { GuestFile, Snapshot } from '../guests/guest.js';
import { type Name, nameToText } from '../name.js';
import type { Time } from '../time.js';
import { folderAttributes, type LayoutContext, shortly } from './context.js';
import type { FileNode, FolderNode, NodeAttributes } from './node.js';
import { OutcomeFile } from './outcome-file.js';
import { descriptionName, outcomeName } from './own-names.js';
import { Still } from './still.js';
import { StillFolder } from './still-folder.js';
import { jsonText, madeText, TextFile } from './text-file.js';

/** A snapshot as it is shown, as long as it is open. */
export class ShownSnapshot {
  readonly still: Still<GuestFile>;
  #told: readonly string[];

  constructor(
    readonly snapshot: Snapshot,
    path: Name,
  ) {
    const { files, disks, rootfs } = snapshot;
    const ownNames = [outcomeName, descriptionName];
    const problems = (): readonly string[] => snapshot.problems;
    this.still = new Still({ path, key: path, files, disks, rootfs, problems, ownNames });
    this.#told = snapshot.problems;
  }

  /** Whether the snapshot has other problems than when this was asked last. */
  hasOtherProblems(): boolean {
    const told = this.#told;
    this.#told = this.snapshot.problems;
    return told !== this.#told;
  }
}

/** `guests/<guest>/snapshots/<name>/`: a guest at one instant, until it is ended. */
export class SnapshotFolder extends StillFolder {
  readonly live = true;
  protected override readonly ownNames = [outcomeName, descriptionName];
  readonly #shown: ShownSnapshot;

  constructor(context: LayoutContext, parent: FolderNode, shown: ShownSnapshot) {
    super(context, shown.still.path, parent);
    this.#shown = shown;
  }

  get time(): Time {
    return this.#shown.snapshot.time;
  }

  async attributes(): Promise<NodeAttributes> {
    this.#open();
    return folderAttributes(this.context, { modified: this.time, freshSeconds: shortly });
  }

  async still(): Promise<Still<GuestFile>> {
    return this.#open();
  }

  protected override ownNode(name: Name, path: Name): FileNode | undefined {
    const { snapshot } = this.#shown;
    if (name === outcomeName) return new OutcomeFile(this.context, path, this, snapshot);
    if (name !== descriptionName) return undefined;
    const source = madeText(async () => {
      this.#open();
      return jsonText(snapshot.describe(), this.time);
    });
    return new TextFile(this.context, path, this, source);
  }

  protected override fileNode(name: Name, path: Name): FileNode {
    const source = madeText(async () => {
      const file = this.#open().files.get(name);
      if (file) return file;
      throw new StillError('ESTALE', `${nameToText(path)} has gone`);
    });
    return new TextFile(this.context, path, this, source);
  }

  #open(): Still<GuestFile> {
    const { still, snapshot } = this.#shown;
    if (!still.ended) return still;
    throw new StillError('ESTALE', `the snapshot ${snapshot.name.folder} has ended`);
  }
}
