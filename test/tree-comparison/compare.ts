import { Comparison, TooManyDifferences } from './comparison.js';
import type { ComparisonOptions } from './difference.js';

// node compare.js EXPECTED ACTUAL [options as JSON]: prints each difference as a line of JSON.
const [expected, actual, options = '{}'] = process.argv.slice(2);
if (expected === undefined || actual === undefined) {
  console.error(
    'usage: compare EXPECTED ACTUAL [{"holes": "same", "folders": "same", "inodes": "same", "contents": "ignore", "most": 100}]',
  );
  process.exit(2);
}
const given: ComparisonOptions = JSON.parse(options);
const complete = {
  holes: 'ignore',
  folders: 'ignore',
  inodes: 'ignore',
  contents: 'read',
  most: 100,
  ...given,
} as const;
const comparison = new Comparison(complete, (difference) => {
  process.stdout.write(`${JSON.stringify(difference)}\n`);
});
try {
  comparison.compare(expected, actual);
} catch (error) {
  if (!(error instanceof TooManyDifferences)) throw error;
}
