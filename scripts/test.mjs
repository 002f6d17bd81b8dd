/**
 * npm test: format, lint, types, then the test projects of vite.config.ts, each by itself, with the time it took. Goes on after a
 * failure, so that one run tells everything, and ends with one line of totals.
 *   --long   also what takes longer (SLUICE_LONG=1 for the tests that look at it)
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { driverEnvironment, ensureBrowsers } from './browsers.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), 'sluice-test-'));
const totals = { passed: 0, failed: 0, skipped: 0 };
/** Said again at the very end, because whoever reads a long log begins there. */
const failures = [];

const environment = { ...process.env, ...(process.argv.includes('--long') ? { SLUICE_LONG: '1' } : {}) };

run('format and lint', () => command('@biomejs/biome/bin/biome', ['check', '.']));
run('types', () => command('typescript/bin/tsc', ['--noEmit']));
run('unit tests', () => project('unit'));
const browsers = run('browsers and drivers', () => {
  const found = ensureBrowsers();
  const missing = Object.values(found).some((part) => part === undefined);
  return { counts: { failed: missing && process.platform === 'linux' ? 1 : 0 }, found };
}).found;
// SwiftShader even where there is a GPU: the same numbers on every machine. A driver that the caller chose stays.
const vulkan = process.env.VK_ICD_FILENAMES ? {} : driverEnvironment(browsers?.swiftshader);
run('tests on Dawn', () => project('dawn*', vulkan));
run('tests in browsers', () => project('browser*'));

rmSync(scratch, { recursive: true, force: true });
for (const failure of failures) console.log(`\nfailed: ${failure}`);
if (totals.skipped > 0) console.log(`\n${totals.skipped} skipped, each named above`);
console.log(`\n${totals.passed} passed, ${totals.failed} failed`);
process.exitCode = totals.failed > 0 ? 1 : 0;

/** @param {() => { counts: Partial<typeof totals> }} stage */
function run(title, stage) {
  console.log(`\n=== ${title}`);
  const start = performance.now();
  const result = stage();
  for (const [kind, count] of Object.entries(result.counts)) totals[kind] += count;
  const { passed = 0, failed = 0, skipped = 0 } = result.counts;
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(`=== ${title}: ${passed} passed, ${failed} failed, ${skipped} skipped, ${seconds} s`);
  return result;
}

/** One check that passes or fails as a whole. */
function command(script, args) {
  return { counts: node(script, args) === 0 ? { passed: 1 } : { failed: 1 } };
}

/** One vitest project, or those that a pattern names. Its own report says how many tests there were; without a report nothing ran, which is a failure. */
function project(name, env = {}) {
  const report = join(scratch, `${name.replace('*', '')}.json`);
  const unhandled = join(scratch, `${name.replace('*', '')}.errors.json`);
  const reporters = ['default', 'json', './scripts/unhandled_errors.mjs'].map((reporter) => `--reporter=${reporter}`);
  const options = ['--project', name, ...reporters, `--outputFile.json=${report}`];
  const status = node('vitest/vitest.mjs', ['run', ...options], { ...env, SLUICE_UNHANDLED_ERRORS: unhandled });
  const counts = readCounts(report);
  const errors = existsSync(unhandled) ? JSON.parse(readFileSync(unhandled, 'utf8')) : [];
  for (const error of errors) failures.push(`${name}: outside of any test: ${error.slice(0, 2000)}`);
  if (status !== 0 && counts.failed === 0) {
    counts.failed = 1;
    failures.push(`${name}: vitest ended with ${status} though no test failed`);
  }
  return { counts };
}

function readCounts(report) {
  let results;
  try {
    results = JSON.parse(readFileSync(report, 'utf8'));
  } catch (error) {
    console.error(`The test run left no report: ${error.message}`);
    return { failed: 1 };
  }
  const tests = results.testResults.flatMap((file) => file.assertionResults.map((test) => ({ ...test, file: file.name })));
  const skipped = tests.filter(({ status }) => status === 'pending' || status === 'skipped' || status === 'todo');
  for (const { file, fullName } of skipped) console.log(`skipped: ${file.replace(root, '')}: ${fullName}`);
  for (const { status, file, fullName, failureMessages } of tests) {
    if (status === 'failed')
      failures.push(`${file.replace(root, '')}: ${fullName}\n${failureMessages.join('\n').slice(0, 2000)}`);
  }
  for (const { status, name, message } of results.testResults) {
    if (status === 'failed' && message) failures.push(`${name.replace(root, '')}: ${message.slice(0, 2000)}`);
  }
  return { passed: results.numPassedTests, failed: results.numFailedTests, skipped: skipped.length };
}

function node(script, args, env = {}) {
  const file = join(root, 'node_modules', script);
  return spawnSync(process.execPath, [file, ...args], {
    cwd: root,
    env: { ...environment, ...env },
    stdio: ['ignore', 'inherit', 'inherit'],
  }).status;
}
