/** `bench` as a user types it: every figure that it promises is printed for every context, and its JSON has the same. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ReportedFigures } from '../../src/bench/model_report';
import type { BenchResult } from '../../src/bench/run';
import { bundleCli, runCli } from './run_cli';

let folder: string;
let bundle: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-bench-'));
  bundle = await bundleCli('bench-test');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const bench = (...args: string[]) => runCli(bundle, ['bench', ...args]);

/** Cells of a printed line: what two blanks or more part. */
const cells = (line: string): string[] => line.trim().split(/ {2,}/);
/** Lines of the block that begins with a line that starts so. */
function block(stdout: string, title: string): string[] {
  const lines = stdout.split('\n\n').map((text) => text.split('\n'));
  return lines.find(([first]) => first?.startsWith(title)) ?? [];
}
/** As printed, three digits of it, or a share in percent. */
function expectPrinted(text: string | undefined, value: number): void {
  const printed = text?.endsWith('%') ? Number.parseFloat(text) / 100 : Number(text);
  expect(Math.abs(printed - value), `${text} for ${value}`).toBeLessThanOrEqual(
    0.006 * Math.abs(value) + 0.005 * Number(text?.endsWith('%')),
  );
}

describe('bench of a preset with --profile', () => {
  const contexts = [0, 16];
  let stdout: string;
  let result: BenchResult;
  let kept: unknown;
  beforeAll(async () => {
    const json = join(folder, 'bench.json');
    const shape = ['--preset', '0.8b', '--context', contexts.join(), '--repeat', '2'];
    const run = await bench(...shape, '--profile', '--json', json);
    expect([run.code, run.stderr.includes('sluice:')]).toEqual([0, false]);
    stdout = run.stdout;
    result = JSON.parse(stdout.trim().split('\n').at(-1)!);
    kept = JSON.parse(readFileSync(json, 'utf8'));
  });
  const figuresAt = (context: number) => result.model!.find((row) => row.context === context) as ReportedFigures;

  test('keeps in the file what its last line says', () => {
    expect(kept).toEqual(result);
    expect(result.model!.map(({ context }) => context)).toEqual(contexts);
  });

  test('prints the ceilings', () => {
    const [line] = stdout.split('\n').filter((line) => line.includes('read bandwidth'));
    expectPrinted(/([\d.]+) GB\/s/.exec(line!)![1], result.ceilings.readGBps.value);
  });

  test.each(contexts)('prints every figure at context %i, and they agree with one another', (context) => {
    const row = figuresAt(context);
    const tables = stdout.split('\n\n').filter((text) => text.startsWith('qwen3.5-0.8b 4-bit'));
    const [title, head, line] = tables[contexts.indexOf(context)]!.split('\n');
    expect(title).toMatch(/prompt 16, decode 4, median of 2 runs$/);
    const names = cells(head!);
    const printed = cells(line!);
    const cell = (name: string, skip = 0) => printed[names.indexOf(name) + skip];
    expect(cell('context')).toBe(String(context));
    const { prefillTokensPerSecond: prefill, decodeTokensPerSecond: decode, bytesPerToken } = row;
    const figures = { prefill: prefill.median, decode: decode.median, bytes: bytesPerToken.total, peak: row.peakGpuBytes };
    for (const value of Object.values(figures)) expect(value).toBeGreaterThan(0);
    expect([prefill.count, decode.count]).toEqual([2, 2]);
    expectPrinted(cell('prefill tok/s'), prefill.median);
    expectPrinted(cell('prefill tok/s', 1), prefill.spread / 2);
    expectPrinted(cell('decode tok/s'), decode.median);
    expectPrinted(cell('decode tok/s', 1), decode.spread / 2);
    expectPrinted(cell('MB a token'), bytesPerToken.total / 1e6);
    expectPrinted(cell('GB/s'), (bytesPerToken.total * decode.median) / 1e9);
    expectPrinted(cell('of read'), (bytesPerToken.total * decode.median) / 1e9 / result.ceilings.readGBps.value);
    expectPrinted(cell('peak GB'), row.peakGpuBytes / 1e9);
    expectPrinted(cell('dispatches'), row.dispatchesPerToken);
    expect(row.gbPerSecond).toBeCloseTo((bytesPerToken.total * decode.median) / 1e9, 9);
    expect(row.ofRead).toBeCloseTo(row.gbPerSecond / result.ceilings.readGBps.value, 9);
  });

  test.each(contexts)('prints each kernel’s time and shares at context %i, and which clock timed them', (context) => {
    const { profiles, dispatchesPerToken } = figuresAt(context);
    expect(profiles.map(({ tokens }) => tokens)).toEqual([16, 1]);
    for (const { tokens, rows } of profiles) {
      const what = tokens === 1 ? 'decode' : `${tokens} tokens of prompt`;
      const [title, head, ...lines] = block(stdout, `${what} at context ${context}:`);
      expect(title).toMatch(/ms in kernels by timestamps of the GPU$/);
      const names = cells(head!);
      expect(names).toEqual(['kernel', 'a step', 'µs each', 'ms a step', 'of all', 'GB/s', 'of read', 'TFLOP/s', 'of FMA']);
      const all = rows.reduce((sum, { msPerStep }) => sum + msPerStep, 0);
      expect(rows.length).toBeGreaterThan(5);
      for (const [i, row] of rows.entries()) {
        const printed = cells(lines[i]!);
        const of = (name: string) => printed[names.indexOf(name)];
        expect([of('kernel'), of('a step'), row.clock]).toEqual([row.kernel, String(row.dispatches), 'timestamp']);
        expectPrinted(of('µs each'), row.us);
        expectPrinted(of('ms a step'), row.msPerStep);
        expectPrinted(of('of all'), row.msPerStep / all);
        if (row.gbPerSecond === undefined) expect(printed.slice(-4)).toEqual(['-', '-', '-', '-']);
        else {
          expectPrinted(of('GB/s'), row.gbPerSecond);
          expectPrinted(of('of read'), row.gbPerSecond / result.ceilings.readGBps.value);
          expectPrinted(of('of FMA'), row.tflops! / result.ceilings.fmaTflops.value);
        }
      }
      expect(rows.some(({ gbPerSecond }) => gbPerSecond !== undefined)).toBe(true);
      const dispatches = rows.reduce((sum, row) => sum + row.dispatches, 0);
      if (tokens === 1) expect(dispatches).toBe(dispatchesPerToken);
    }
  });
});

test('--kernels measures the bits that are asked for', async () => {
  const narrow = ['--preset', '0.8b', '--tokens', '1', '--context', '0', '--only', 'out_proj', '--seconds-per', '0.02'];
  const bytes: number[] = [];
  for (const bits of ['3', '4']) {
    const { code, stdout } = await bench('--kernels', '--bits', bits, ...narrow);
    expect(code).toBe(0);
    const { kernels } = JSON.parse(stdout.trim().split('\n').at(-1)!);
    bytes.push(kernels[0].gbPerSecond * kernels[0].us);
  }
  expect(bytes[0]! / bytes[1]!).toBeCloseTo(3.5 / 4.5, 6); // with their pairs
});

test.each([
  [['--kernels', '--prompt', '3'], 'sluice: --prompt has no effect on a bench of --kernels. Leave it out.\n'],
  [['--kernels', '--bits', '16'], "sluice: --bits must be 3 or 4; it is '16'.\n"],
  [['--streaming', '--preset', '9b'], 'sluice: --preset has no effect on a bench of --streaming. Leave it out.\n'],
  [['--preset', '0.8b', '--tokens', '8'], 'sluice: --tokens has no effect on a bench of --preset. Leave it out.\n'],
  [
    ['--preset', '0.8b', '--experts-bytes', '1GB'],
    'sluice: --experts-bytes has no effect on a bench of --preset. Leave it out.\n',
  ],
  [['--model', 'x', '--bits', '3'], 'sluice: --bits has no effect on a bench of --model. Leave it out.\n'],
  [['--prompt', '3'], 'sluice: --prompt has no effect on a bench of the ceilings alone. Leave it out.\n'],
])('%j: what would have no effect is refused', async (args, message) => {
  expect(await bench(...args)).toMatchObject({ code: 1, stdout: '', stderr: message });
});

test('a preset that there is not is one line that names those that there are', async () => {
  const { code, stdout, stderr } = await bench('--preset', '7b');
  expect([code, stdout]).toEqual([1, '']);
  expect(stderr).toMatch(/^sluice: --preset must be .*qwen3\.5-9b.*; it is '7b'\.\n$/);
});
