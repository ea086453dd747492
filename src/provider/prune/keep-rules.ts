/** How many backups of each kind are kept, as Proxmox VE's `prune-backups` has it. What is left out keeps none by itself. */
export interface KeepRules {
  readonly all?: boolean;
  readonly last?: number;
  readonly hourly?: number;
  readonly daily?: number;
  readonly weekly?: number;
  readonly monthly?: number;
  readonly yearly?: number;
}

/** The rules that count, in the order in which they have their turn. */
export const keepPeriods = ['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const;
export type KeepPeriod = (typeof keepPeriods)[number];

/** A backup, as far as the rules look at it. */
export interface RuledBackup {
  readonly folder: string;
  /** Since 1970, in UTC. */
  readonly seconds: number;
  readonly isProtected: boolean;
}

/** `keep`: by a rule. `protected`: whatever the rules say; it takes up no place in them. */
export type Mark = 'keep' | 'protected' | 'remove';

/**
 * What becomes of a guest's backups, by their folders. The rules are Proxmox VE's: each in turn goes from the newest backup to the oldest
 * and keeps the newest one of each period (an hour, a day, an ISO week…), for as many periods as it says; a period for which a rule
 * before it keeps a backup does not count. What a rule passes over within a period that it keeps one of is removed, whatever
 * the rules after it say. Without any rule that keeps something, all is kept. Periods are those of UTC.
 */
export function markBackups(backups: readonly RuledBackup[], rules: KeepRules): Map<string, Mark> {
  const marks = new Map<string, Mark>();
  for (const { folder, isProtected } of backups) if (isProtected) marks.set(folder, 'protected');
  const counts = keepPeriods.map((period) => ({ period, most: rules[period] ?? 0 }));
  const keepsAll = rules.all === true || counts.every(({ most }) => most === 0);
  const newestFirst = [...backups].sort((a, b) => b.seconds - a.seconds);
  if (!keepsAll)
    for (const { period, most } of counts)
      if (most > 0) markByPeriod(newestFirst, periodOf[period], most, marks);
  for (const { folder } of backups) if (!marks.has(folder)) marks.set(folder, keepsAll ? 'keep' : 'remove');
  return marks;
}

function markByPeriod(
  newestFirst: readonly RuledBackup[],
  periodOfBackup: (backup: RuledBackup) => string,
  most: number,
  marks: Map<string, Mark>,
): void {
  const keptBefore = new Set(
    newestFirst.filter(({ folder }) => marks.get(folder) === 'keep').map(periodOfBackup),
  );
  const kept = new Set<string>();
  for (const backup of newestFirst) {
    const period = periodOfBackup(backup);
    if (marks.has(backup.folder) || keptBefore.has(period)) continue;
    if (kept.has(period)) {
      marks.set(backup.folder, 'remove');
    } else {
      if (kept.size >= most) return;
      kept.add(period);
      marks.set(backup.folder, 'keep');
    }
  }
}

const periodOf: Readonly<Record<KeepPeriod, (backup: RuledBackup) => string>> = {
  // Each is a period of its own, also one that another guest system's backup shares its second with.
  last: ({ folder }) => folder,
  hourly: ({ seconds }) => iso(seconds).slice(0, 'YYYY-MM-DDTHH'.length),
  daily: ({ seconds }) => iso(seconds).slice(0, 'YYYY-MM-DD'.length),
  weekly: ({ seconds }) => isoWeek(seconds),
  monthly: ({ seconds }) => iso(seconds).slice(0, 'YYYY-MM'.length),
  yearly: ({ seconds }) => iso(seconds).slice(0, 'YYYY'.length),
};

function iso(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}

const daySeconds = 86_400;

/** The week by ISO 8601: it is of the year that its Thursday is in. */
function isoWeek(seconds: number): string {
  const weekday = (new Date(seconds * 1000).getUTCDay() + 6) % 7;
  const thursday = new Date((seconds + (3 - weekday) * daySeconds) * 1000);
  const year = thursday.getUTCFullYear();
  const dayOfYear = Math.floor((thursday.getTime() - Date.UTC(year, 0, 1)) / (daySeconds * 1000));
  return `${year}-W${Math.floor(dayOfYear / 7) + 1}`;
}
