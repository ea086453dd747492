import type { GuestSource } from '../guests/guest.js';
import { type Name, nameFromText } from '../name.js';
import type { BackupStore } from '../stores/store.js';
import type { LayoutContext } from './context.js';
import { FixedFolder } from './fixed-folder.js';
import { GuestFolder } from './guest-folder.js';
import type { FolderNode } from './node.js';
import { StoreGuests } from './store-guests.js';

const guestsPath = 'guests' as Name;
const backupsPath = 'backups' as Name;

/** The path of the node of a store's folder, or of a guest's in it. */
export function storePath(store: BackupStore, guest?: Name): Name {
  const path = `${backupsPath}/${nameFromText(store.name)}`;
  return (guest === undefined ? path : `${path}/${guest}`) as Name;
}

/** What stands in the root, and who may enter it. */
export interface RootContents {
  readonly stores: readonly BackupStore[];
  readonly guests: readonly GuestSource[];
  /** The permissions of `guests/` and `backups/`. */
  readonly permissions: number;
}

/** The root: `guests/` and `backups/`, each where there is something to show in it. */
export function rootFolder(
  context: LayoutContext,
  { stores, guests, permissions }: RootContents,
): { readonly root: FolderNode; readonly guestFolders: readonly GuestFolder[] } {
  const guestFolders: GuestFolder[] = [];
  const root = new FixedFolder(context, '' as Name, undefined, 0o755, (above) => {
    const folders: FixedFolder[] = [];
    if (guests.length > 0) {
      folders.push(
        new FixedFolder(context, guestsPath, above, permissions, (folder) => {
          return new Map(
            guests.map((guest) => {
              const name = nameFromText(guest.id);
              const made = new GuestFolder(context, `${guestsPath}/${name}` as Name, folder, guest);
              guestFolders.push(made);
              return [name, made];
            }),
          );
        }),
      );
    }
    if (stores.length > 0) {
      folders.push(
        new FixedFolder(context, backupsPath, above, permissions, (folder) => {
          return new Map(
            stores.map((store) => [
              nameFromText(store.name),
              new StoreGuests(context, storePath(store), folder, store),
            ]),
          );
        }),
      );
    }
    return new Map(folders.map((folder) => [folder.path, folder]));
  });
  return { root, guestFolders };
}
