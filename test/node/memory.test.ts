/**
 * A budget seen from outside: on a CPU adapter GPU memory is the process's own, so its peak resident memory tells whether the bytes
 * that we count are the bytes that there are, and whether anything else grows with the model.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writeSynthetic } from '../../src/node/synth/write';
import { presetShapes, type SyntheticShapes } from '../../src/synth/presets';
import { tinyShapes } from '../engine/memory_model';
import { bundleCli } from './run_cli';

/** What the issue allows beyond the budget and a run that only makes a device and pipelines. */
const allowedBytes = 64e6;
let folder: string;
let bundle: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-memory-'));
  bundle = await bundleCli('memory-test');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Report = { peakGpuBytes: number; smallestBudgetBytes: number; streamedBytesPerToken: number };

/** Runs `score` in a process of its own. `peakBytes`: the most resident memory that it ever had. */
async function score(model: string, prompt: number, options: string[]): Promise<{ peakBytes: number; report: Report }> {
  const tokens = join(folder, 'tokens.json');
  const decode = join(folder, 'decode.json');
  writeFileSync(tokens, JSON.stringify(Array.from({ length: prompt }, (_, i) => (i * 37) % 500)));
  writeFileSync(decode, '[1, 2]');
  const args = ['score', '--model', model, '--tokens', tokens, '--decode-tokens', decode, '--out', join(folder, 'out')];
  // With this set the command does its work itself, not in a child of its own.
  const env = { ...process.env, UV_THREADPOOL_SIZE: '4' };
  const child = spawn(process.execPath, [bundle, ...args, ...options], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let peakBytes = 0;
  const sample = () => {
    try {
      const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
      peakBytes = Math.max(peakBytes, Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024);
    } catch {} // it has just ended
  };
  const timer = setInterval(sample, 20);
  let text = '';
  let complaints = '';
  child.stdout.on('data', (data) => {
    sample();
    text += data;
  });
  child.stderr.on('data', (data) => {
    complaints += data;
  });
  const code = await new Promise((resolve) => child.on('close', resolve));
  clearInterval(timer);
  if (code !== 0) throw new Error(complaints);
  return { peakBytes, report: JSON.parse(text.trim().split('\n').at(-1)!) as Report };
}

/** `score` of a model with next to no weights: a device, pipelines, the runtime. */
async function baseline(): Promise<number> {
  const out = join(folder, 'tiny');
  await writeSynthetic({ shapes: { ...tinyShapes, tieWordEmbeddings: false }, bits: 4, out, force: true });
  return (await score(out, 4, ['--gpu-budget', '3MB'])).peakBytes;
}

const runs: { shapes: SyntheticShapes; prompt: number; spare: number; slackBytes: number; why: string }[] = [
  {
    shapes: {
      ...presetShapes('qwen3.5-2b'),
      vocabSize: 4096,
      layerTypes: ['linear_attention', 'full_attention', 'linear_attention'],
      tieWordEmbeddings: false,
    },
    prompt: 5,
    spare: 10e6,
    slackBytes: allowedBytes / 2, // holding on to the weights would be three times as much
    why: '100 MB',
  },
];
if (process.env.SLUICE_LONG) {
  const shapes = { ...presetShapes('qwen3.5-9b'), vocabSize: 16_384 };
  const layerTypes = (['linear_attention', 'full_attention', 'linear_attention'] as const).slice();
  runs.push(
    { shapes: { ...shapes, layerTypes }, prompt: 80, spare: 0, slackBytes: allowedBytes, why: '440 MB at the smallest budget' },
    { shapes: { ...shapes, layerTypes }, prompt: 20, spare: 100e6, slackBytes: allowedBytes, why: '440 MB, some of it resident' },
  );
}

test.skipIf(process.platform !== 'linux').each(runs)(
  'the process stays within the budget: $why of weights',
  { timeout: 1_200_000 },
  async ({ shapes, prompt, spare, slackBytes }) => {
    const without = await baseline();
    const model = join(folder, 'model');
    const { bytes } = await writeSynthetic({ shapes, bits: 4, out: model, force: true });
    const least = await smallestBudget(model, prompt);
    const budget = least + spare;
    const { peakBytes, report } = await score(model, prompt, ['--gpu-budget', String(budget)]);
    expect(report.peakGpuBytes).toBeLessThanOrEqual(budget);
    expect(report.streamedBytesPerToken).toBeGreaterThan(bytes / 2);
    expect(without).toBeGreaterThan(50e6); // both were really measured
    expect(peakBytes).toBeGreaterThan(without);
    expect(peakBytes - without).toBeLessThanOrEqual(budget + slackBytes);
    console.log(
      `${(peakBytes / 1e6).toFixed(0)} MB, ${(without / 1e6).toFixed(0)} MB without; budget ${(budget / 1e6).toFixed(0)} MB`,
    );
  },
);

async function smallestBudget(model: string, prompt: number): Promise<number> {
  const refusal = await score(model, prompt, ['--gpu-budget', '1']).catch((error: Error) => error.message);
  return Number(/at least (\d+) bytes/.exec(String(refusal))![1]);
}
