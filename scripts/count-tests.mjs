// Prints how many tests passed and failed, from vitest's JSON report, and exits accordingly.
// A file that could not be loaded, and a run that ended otherwise than its tests say, count as a failure.
import { readFileSync } from 'node:fs';

const [report, outcome] = process.argv.slice(2);
let passed = 0;
let failed = 0;
try {
  const { numPassedTests, testResults } = JSON.parse(readFileSync(report, 'utf8'));
  passed = numPassedTests;
  for (const file of testResults) {
    const ofFile = file.assertionResults.filter(({ status }) => status !== 'passed').length;
    failed += ofFile === 0 && file.status === 'failed' ? 1 : ofFile;
  }
} catch {
  console.error('vitest left no report: it was ended before it was done');
}
if (failed === 0 && (outcome !== '0' || passed === 0)) failed = 1;
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
