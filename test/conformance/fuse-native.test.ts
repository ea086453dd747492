import { conformance } from './suite.js';

conformance('fuse-native', 'process');
