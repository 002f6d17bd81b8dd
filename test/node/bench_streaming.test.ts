/** What `bench --streaming` measures, and test/bench/streaming.mjs around it, on a model too small to tell anything about speed. */
import { execFile } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { overlapOf, tokensThatTake } from '../../src/bench/streaming';
import { listedBytes } from '../bench/streaming/outside.mjs';
import { bundleCli, runCli } from './run_cli';

const script = fileURLToPath(new URL('../bench/streaming.mjs', import.meta.url));
const model = fileURLToPath(new URL('../fixtures/vectors/dense-4bit', import.meta.url));
const mib = 2 ** 20;
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-streaming-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** In its place: every child of whoever asks has 100 MiB, and each question finds all GPUs holding 10 MiB more. */
function writeNvidiaSmi(): void {
  const asked = join(folder, 'asked');
  const text = `#!/bin/sh
case "$*" in
  *memory.used*) echo x >> ${asked}; echo $((1000 + 10 * $(wc -l < ${asked}))) ;;
  *PIDS*) for pid in $(pgrep -P $PPID); do printf '  Process ID : %s\\n  Used GPU Memory : 100 MiB\\n' $pid; done ;;
esac
`;
  writeFileSync(join(folder, 'nvidia-smi'), text);
  chmodSync(join(folder, 'nvidia-smi'), 0o755);
}

test.skipIf(process.platform !== 'linux')(
  'a run for each budget, watched from outside; a budget that is refused does not end the others',
  async () => {
    writeNvidiaSmi();
    const json = join(folder, 'out.json');
    const own = ['--model', model, '--budgets', '1MB,1.5MB', '--json', json];
    const env = { ...process.env, PATH: `${folder}:${process.env.PATH}` };
    const { code, stdout, stderr } = await new Promise<{ code: unknown; stdout: string; stderr: string }>((resolve) => {
      const more = ['--', '--context', '256', '--chunk', '32', '--decode', '3', '--repeat', '1'];
      execFile(process.execPath, [script, ...own, ...more], { env }, (error, stdout, stderr) => {
        resolve({ code: error ? error.code : 0, stdout, stderr });
      });
    });
    expect(stderr).toMatch(/1\.0 MB is too small/);
    expect(code).toBe(1);
    const result = JSON.parse(stdout.trim().split('\n').at(-1)!);
    expect(JSON.parse(readFileSync(json, 'utf8'))).toEqual(result);
    const number = expect.any(Number);
    const pass = { readMs: number, uploadMs: number, throughMs: number, computeMs: number, ratio: number, overlap: number };
    const seen = { residentBytes: number, processBytes: expect.any(Number), deviceBytes: number };
    expect(result).toMatchObject({ outsideKind: 'residentBytes', baseBytes: number, base: seen });
    expect(result.base.processBytes).toBe(100 * mib);
    expect(result.base.deviceBytes).toBeGreaterThan(0);
    expect(result.runs).toMatchObject([
      { budget: '1MB', failed: true },
      {
        budget: '1.5MB',
        plan: { gpuBudgetBytes: 1.5e6, streamedBytesPerToken: number },
        predicted: { before: number, loaded: number },
        token: { tokens: 1, wallMs: { count: 1 }, ...pass },
        prompt: { ...pass, equal: expect.any(Boolean) },
        outside: seen,
        within: true,
      },
    ]);
    const run = result.runs[1];
    expect(run.limitBytes).toBe(1.5e6 + result.baseBytes + 64e6);
    expect(run.outside.residentBytes).toBeGreaterThan(50e6);
    expect(run.peakGpuBytes).toBeLessThanOrEqual(1.5e6);
    expect(run.plan.streamedBytesPerToken).toBeGreaterThan(0);
    const { token, prompt } = run;
    expect(token.ratio).toBeCloseTo(token.wallMs.median / Math.max(token.readMs, token.uploadMs, token.computeMs), 9);
    expect(prompt.equal).toBe(Math.abs(prompt.computeMs / prompt.readMs - 1) <= 0.2);
    expect(prompt.tokens).toBeGreaterThanOrEqual(2);
    expect(prompt.tokens).toBeLessThanOrEqual(run.plan.passTokens);
  },
);

test('of a mixture it says what tokens asked of the experts', async () => {
  const bundle = await bundleCli('streaming-experts-test');
  const mixture = fileURLToPath(new URL('../fixtures/vectors/moe-4bit', import.meta.url));
  const how = ['--gpu-budget', '2500000', '--context', '124', '--decode', '3', '--repeat', '1'];
  const { code, stdout } = await runCli(bundle, ['bench', '--streaming', '--model', mixture, ...how]);
  expect(code).toBe(0);
  const { experts } = JSON.parse(stdout.trim().split('\n').at(-1)!);
  expect(experts.hits + experts.misses).toBe(2 * 3 * 4 * 4); // rounds, tokens, layers, experts of each
  expect(experts.misses).toBeGreaterThan(0);
  expect(experts.bytesPerToken).toBeGreaterThan(0);
  const share = Math.round((100 * experts.hits) / (experts.hits + experts.misses));
  expect(stdout).toMatch(new RegExp(`experts in ${experts.slots} slots: ${share}(\\.\\d)? % of choices found theirs there`));
});

describe('the prompt that takes as long to compute as its weights to read', () => {
  const found = async (ms: number, most: number, computeMs: (tokens: number) => number) => {
    const asked: number[] = [];
    const tokens = await tokensThatTake(ms, most, async (tokens) => {
      asked.push(tokens);
      return computeMs(tokens);
    });
    return { tokens, asked };
  };
  const line = (tokens: number) => 40 + 4 * tokens;

  test.each([
    [260, 55],
    [1000, 240],
    [100, 15],
  ])('%d ms, of a line', async (ms, exact) => {
    const { tokens, asked } = await found(ms, 4096, line);
    expect(Math.abs(line(tokens) / ms - 1)).toBeLessThanOrEqual(0.11);
    expect(Math.abs(tokens - exact)).toBeLessThanOrEqual(0.1 * exact + 8);
    expect(asked.length).toBeLessThan(12);
  });

  test('in steps of 32 tokens', async () => {
    const { tokens } = await found(300, 4096, (count) => 150 * Math.ceil(count / 32));
    expect(Math.ceil(tokens / 32)).toBe(2);
  });

  test('none: the nearest, within one pass', async () => {
    expect((await found(1e6, 600, line)).tokens).toBe(600);
    expect((await found(1, 600, line)).tokens).toBe(2);
    expect((await found(1, 2, line)).tokens).toBe(2);
  });
});

test('overlap: 1 where the slowest hides the others, 0 where they follow each other', () => {
  const parts = { readMs: 10, uploadMs: 20, computeMs: 5 };
  expect(overlapOf(parts, 20)).toBe(1);
  expect(overlapOf(parts, 35)).toBe(0);
  expect(overlapOf({ readMs: 0, uploadMs: 0, computeMs: 5 }, 6)).toBe(null);
});

test('nvidia-smi lists a process: all GPUs and contexts of it, and no others', () => {
  const listed = (pid: number, type: string, memory: string) => `
        GPU instance ID                   : N/A
        Process ID                        : ${pid}
            Type                          : ${type}
            Name                          : node
            Used GPU Memory               : ${memory}`;
  const text = `GPU 00000000:1B:00.0\n    Processes${listed(12, 'C', '7 MiB')}${listed(123, 'G', '1990 MiB')}${listed(123, 'C', '10 MiB')}`;
  expect(listedBytes(text, 123)).toBe(2000 * mib);
  expect(listedBytes(text, 1)).toBe(null);
  expect(listedBytes(`Processes${listed(5, 'C', 'N/A')}${listed(6, 'C', '1 MiB')}`, 5)).toBe(null);
  expect(listedBytes('    Processes                             : None', 5)).toBe(null);
});
