import { hasCode, messageOf } from '../../errors.js';
import type { Name } from '../../name.js';
import { type Captured, foreignOf, mustBeFolder, type Omitted, rootfsOf, type Subject } from './capture.js';
import { mustBeBind } from './mount-entry.js';
import { placeText, type ShownPlace } from './shown-files.js';

/** No snapshot at all: the folders that the container works on. */
export async function captureLive(subject: Subject): Promise<Captured> {
  const { container, record } = subject;
  const rootfs = await rootfsOf(subject);
  const within = '' as Name;
  const places: ShownPlace[] = [{ at: [], folder: rootfs, within }];
  const omitted: Omitted[] = [];
  for (const mount of container.storage) {
    const { path: at, source } = mount;
    try {
      mustBeBind(mount);
      await mustBeFolder(source, 'what is mounted there');
      places.push({ at, folder: source, within });
    } catch (error) {
      if (hasCode(error, 'ENODEV') && mount.options.includes('optional')) continue;
      places.push({ at, folder: undefined, within });
      omitted.push({ at, reason: messageOf(error) });
    }
  }
  return {
    record: { ...record, taken: true },
    instant: Date.now(),
    places,
    mountPoints: places.flatMap(({ at, folder }) =>
      folder === undefined ? [] : [{ path: placeText(at), source: folder }],
    ),
    omitted: [...omitted, ...foreignOf(container)],
    freezeMilliseconds: null,
    flushMilliseconds: null,
  };
}
