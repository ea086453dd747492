import { attributes } from './attributes.js';
import type { Behaviour } from './behaviour.js';
import { changing } from './changing.js';
import { endings } from './endings.js';
import { errors } from './errors.js';
import { folders } from './folders.js';
import { forgetting } from './forgetting.js';
import { holes } from './holes.js';
import { identity } from './identity.js';
import { names } from './names.js';
import { news } from './news.js';
import { reading } from './reading.js';
import { waiting } from './waiting.js';

/** Everything that must hold of a mount. */
export const behaviours: readonly Behaviour[] = [
  ...names,
  ...folders,
  ...attributes,
  ...identity,
  ...reading,
  ...holes,
  ...changing,
  ...errors,
  ...waiting,
  ...news,
  ...forgetting,
  ...endings,
];
