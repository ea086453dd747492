import { conformance } from './suite.js';

conformance('kernel', 'process');
