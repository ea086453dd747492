import { isEntryName, type Name } from '../name.js';
import type { BackupReference, BackupStore } from '../stores/store.js';
import { BackupFolder } from './backup-folder.js';
import { backupNames, basicName, type NamedBackup } from './backup-names.js';
import { folderAttributes, type LayoutContext, shortly } from './context.js';
import type { Child, FolderNode, NodeAttributes, Row } from './node.js';
import { byCookie } from './row-order.js';
import { Symlink } from './symlink.js';

const latestName = 'latest' as Name;

interface Shown {
  readonly references: readonly BackupReference[];
  readonly named: ReadonlyMap<Name, NamedBackup>;
  readonly latest: NamedBackup | undefined;
  readonly rows: readonly Row[];
}

/** `backups/<store>/<guest>/`: the backups of a guest by their times, and `latest`. Opens no backup. */
export class GuestBackups implements FolderNode {
  readonly type = 'directory';
  readonly #context: LayoutContext;
  #shown: Shown | undefined;

  constructor(
    context: LayoutContext,
    readonly path: Name,
    readonly parent: FolderNode,
    readonly store: BackupStore,
    readonly guest: Name,
  ) {
    this.#context = context;
  }

  async attributes(signal: AbortSignal): Promise<NodeAttributes> {
    const modified = await this.store.modified(this.guest, signal);
    return folderAttributes(this.#context, { modified, freshSeconds: shortly });
  }

  async child(name: Name, signal: AbortSignal): Promise<Child> {
    const { named, latest } = await this.#showing(signal);
    const backup = named.get(name);
    if (backup) return { node: this.#backup(backup), freshSeconds: shortly };
    if (name === latestName && latest) return { node: this.#link(name, latest), freshSeconds: shortly };
    // A link and no second name of the folder: a folder has one place in the kernel's tree of names.
    const basic = basicName(name);
    const meant = basic === undefined ? undefined : named.get(basic);
    return { node: meant && this.#link(name, meant), freshSeconds: shortly };
  }

  async rows(signal: AbortSignal): Promise<readonly Row[]> {
    return (await this.#showing(signal)).rows;
  }

  /** The names that came, went, or mean something else since the backups were shown last. */
  async changes(signal: AbortSignal): Promise<Name[]> {
    const before = this.#shown;
    if (!before) return [];
    const after = await this.#showing(signal);
    if (after === before) return [];
    const names = new Set([...before.named.keys(), ...after.named.keys()]);
    const meaning = (shown: Shown, name: Name): Name | undefined => shown.named.get(name)?.reference.folder;
    const changed = [...names].filter((name) => meaning(before, name) !== meaning(after, name));
    return before.latest?.name === after.latest?.name ? changed : [...changed, latestName];
  }

  async #showing(signal: AbortSignal): Promise<Shown> {
    const references = await this.store.backups(this.guest, signal);
    if (this.#shown?.references !== references) this.#shown = this.#show(references);
    return this.#shown;
  }

  #show(references: readonly BackupReference[]): Shown {
    const list = backupNames(references).filter(({ name }) => isEntryName(name));
    const latest = list.at(-1);
    const rows: Row[] = list.map(({ name, reference }) => ({
      name,
      type: 'directory',
      path: this.#pathOf(reference),
      cookie: cookieOf(reference),
    }));
    if (latest) {
      rows.push({ name: latestName, type: 'symlink', path: this.#linkPath(latestName, latest), cookie: 1n });
    }
    rows.sort(byCookie);
    return { references, named: new Map(list.map((backup) => [backup.name, backup])), latest, rows };
  }

  #backup({ reference }: NamedBackup): BackupFolder {
    return new BackupFolder(this.#context, this.#pathOf(reference), this, this.store, this.guest, reference);
  }

  #link(name: Name, { name: target, reference }: NamedBackup): Symlink {
    return new Symlink(this.#context, this.#linkPath(name, { name: target }), this, target, reference.time);
  }

  #pathOf(reference: BackupReference): Name {
    return `${this.path}/${reference.folder}` as Name;
  }

  #linkPath(name: Name, { name: target }: { name: Name }): Name {
    return `${this.path}/${name} -> ${target}` as Name;
  }
}

/** By time, so that a listing is in order; after the second come 20 bits that tell backups of one second apart. */
function cookieOf({ time, folder }: BackupReference): bigint {
  let hash = 0x811c9dc5; // FNV-1a
  for (let at = 0; at < folder.length; at++) hash = Math.imul(hash ^ folder.charCodeAt(at), 0x01000193);
  return (BigInt(time.seconds) << 20n) + BigInt((hash >>> 0) & 0xfffff) + 2n;
}
