import type { Name } from '../name.js';

// Names that the layout itself gives to files of a backup or a snapshot.

/** What can't be shown, and why. */
export const problemName = 'PROBLEM.txt' as Name;
/** What is said of a snapshot: pending, success or failure. */
export const outcomeName = 'outcome' as Name;
/** What a snapshot says of itself. */
export const descriptionName = 'snapshot.json' as Name;
/** What volumes there are on the disks. */
export const volumesName = 'volumes.json' as Name;
