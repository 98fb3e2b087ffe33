/**
 * Runs the whole test suite and ends with one line, `N passed, N failed`, for people and for continuous integration.
 * A suite that cannot start, or a run without a single test, counts as a failure.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

interface Report {
  numPassedTests: number;
  numFailedTests: number;
  numFailedTestSuites: number;
  numPendingTests: number;
}

const folder = mkdtempSync(join(tmpdir(), 'orlop-test-'));
const reportFile = join(folder, 'report.json');
const vitest = join(import.meta.dirname, '../node_modules/vitest/vitest.mjs');
const argv = [vitest, 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${reportFile}`, ...process.argv.slice(2)];

const code = await new Promise<number>((resolve) => {
  spawn(process.execPath, argv, { stdio: 'inherit' }).on('close', (status) => {
    resolve(status ?? 1);
  });
});

let passed = 0;
let failed = 0;
let skipped = 0;
try {
  const report = JSON.parse(readFileSync(reportFile, 'utf8')) as Report;
  passed = report.numPassedTests;
  failed = report.numFailedTests;
  skipped = report.numPendingTests;
} catch {
  process.stderr.write('the test runner wrote no report\n');
}
rmSync(folder, { recursive: true, force: true });
// A skipped test is one that could not run where it should; a file that did not load fails no test of its own.
if (failed === 0 && (code !== 0 || passed === 0 || skipped > 0)) failed = Math.max(1, skipped);
process.stdout.write(`\n${passed} passed, ${failed} failed\n`);
process.exitCode = failed === 0 ? 0 : 1;
