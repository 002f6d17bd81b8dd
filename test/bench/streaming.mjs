/**
 * npm run bench:streaming: a model under several budgets, each in a process of its own that is watched from outside.
 *   node test/bench/streaming.mjs --model <dir> [--budgets 2GB,4GB,8GB,12GB] [--cli <file>] [--json out.json] [-- options of bench --streaming]
 * The process's memory (the driver's figure on a GPU, resident memory on a CPU adapter) is held against the budget, the same figure of a
 * run of a tiny model, which is a device and pipelines (the bytes that it counts are taken off), and 64 MB. Where the driver lists
 * no processes, its figure is what all GPUs have more in use than before the run: right where nobody else uses them.
 * `--cli`: a bundle of the command line; the default is made from source. Prints tables, then one line of JSON.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { usedBytes, watch } from './streaming/outside.mjs';

const usage =
  'node test/bench/streaming.mjs --model <dir> [--budgets 2GB,4GB,8GB,12GB] [--cli <file>] [--json out.json] [-- options of bench --streaming]';
const tiny = fileURLToPath(new URL('../fixtures/vectors/dense-4bit', import.meta.url));
const tinyRun = ['--gpu-budget', '8MB', '--context', '256', '--chunk', '32', '--decode', '2', '--repeat', '1'];
const allowedBytes = 64e6;
const words = {
  residentBytes: 'resident memory of the process (CPU adapter)',
  processBytes: "the driver's figure of the process",
  deviceBytes: 'memory in use on all GPUs, less what was before (the driver lists no process of ours)',
};

await main().catch((error) => {
  console.error(`streaming: ${error.message}`);
  process.exitCode = 1;
});

async function main() {
  const { model, budgets, cli, json, more } = readArguments();
  const before = await usedBytes(); // once: what a run that has just ended still holds must not hide what the next one takes
  const run = (...args) => watched(cli, ['bench', '--streaming', ...args], before);
  const base = await run('--model', tiny, ...tinyRun);
  if (!base.report) throw new Error('The run that makes a device and pipelines failed.');
  const kind = kindOf(base);
  const baseBytes = base.outside[kind] - base.report.peakGpuBytes;
  console.log(`Seen from outside: ${words[kind]}; ${gb(baseBytes)} of a run that makes a device and pipelines`);
  const result = { model, outsideKind: kind, baseBytes, base: base.outside, runs: [] };
  for (const budget of budgets) {
    const { report, outside } = await run('--model', model, '--gpu-budget', budget, ...more);
    result.runs.push(report ? { budget, ...report, ...held(outside, kind, report, baseBytes) } : { budget, failed: true });
    if (json) writeFileSync(json, `${JSON.stringify(result)}\n`); // what comes next may be cut short
  }
  console.log(JSON.stringify(result));
  if (result.runs.some(({ failed, within }) => failed || !within)) process.exitCode = 1;
}

function held(outside, kind, { plan }, baseBytes) {
  const limitBytes = plan.gpuBudgetBytes + baseBytes + allowedBytes;
  const within = outside[kind] <= limitBytes;
  console.log(`  outside ${gb(outside[kind])}, ${within ? 'within' : 'OVER'} ${gb(limitBytes)} = budget + that run + 64 MB`);
  return { outside, limitBytes, within };
}

function kindOf({ report, outside }) {
  if (report.adapter.isCpu) return 'residentBytes';
  if (outside.processBytes !== null) return 'processBytes';
  if (outside.deviceBytes !== null) return 'deviceBytes';
  throw new Error('nvidia-smi is missing, and only NVIDIA GPUs can be watched so far.');
}

function readArguments() {
  const text = { type: 'string' };
  const options = { model: text, budgets: text, cli: text, json: text };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  if (!values.model) throw new Error(`--model is missing. Usage: ${usage}`);
  const cli = values.cli ?? fileURLToPath(new URL('../../scripts/cli.mjs', import.meta.url));
  return { ...values, cli, budgets: (values.budgets ?? '2GB,4GB,8GB,12GB').split(','), more: positionals };
}

/** Runs the command line and passes on what it says but for its last line, which is its report; none where it failed. */
async function watched(cli, args, before) {
  // With this set the command does its work itself, not in a child of its own.
  const env = { ...process.env, UV_THREADPOOL_SIZE: '16' };
  const child = spawn(process.execPath, [cli, ...args], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => child.on('close', resolve));
  let last = '{}';
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => {
    last = line;
    if (!line.startsWith('{')) console.log(line);
  });
  const read = once(lines, 'close');
  const outside = await watch(child.pid, before, ended);
  await read;
  return { report: (await ended) === 0 ? JSON.parse(last) : undefined, outside };
}

function gb(bytes) {
  return `${(bytes / 1e9).toFixed(3)} GB`;
}
