import { behaviours } from './behaviours/all.js';
import { reading } from './behaviours/reading.js';
import { waiting } from './behaviours/waiting.js';
import { conformance } from './suite.js';

// What both do to each other is where trees make their callers wait; all of it is in the long form.
conformance(
  'fuse-native',
  'worker',
  process.env.STILLFS_FULL === undefined ? [...reading, ...waiting] : behaviours,
);
