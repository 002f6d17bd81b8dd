/** From what was found to what runs: arithmetic, so without a GPU. */
import { describe, expect, test } from 'vitest';
import { gib } from '../../src/doctor/context';
import type { Finding, Findings, Report, Verdict } from '../../src/doctor/report';
import { verdictsOf } from '../../src/doctor/verdict';
import type { PresetName } from '../../src/synth/presets';

const finding = <Facts>(facts: Partial<Facts>, status: Finding['status'] = 'passed'): Finding<Facts> => ({
  ...{ status, summary: '', problems: [], ms: 1 },
  facts: facts as Facts,
});
const rate = (value: number) => ({ value, spread: 0 });

/** A Mac of 2023, as far as one can guess: 100 GB/s, 4 GB/s of disk. */
function mac(heldGiB: number, more: Partial<Findings> = {}): Report['findings'] {
  const limits = { maxBufferSize: 4 * gib, maxStorageBufferBindingSize: 4 * gib - 4 };
  return {
    browser: finding<Findings['browser']['facts']>({ storage: { quotaBytes: 200e9, usageBytes: 0, persisted: false } }),
    device: finding<Findings['device']['facts']>({ isCpu: false, limits }),
    speed: finding<Findings['speed']['facts']>({ dispatchUs: rate(3), encodeUs: rate(4) }),
    products: finding<Findings['products']['facts']>({ gbPerSecond: 70 }),
    upload: finding<Findings['upload']['facts']>({ write: { 4: 6 }, mapped: { 4: 5 } }),
    disk: finding<Findings['disk']['facts']>({ readGBps: 4, randomGBps: 2 }),
    memory: finding<Findings['memory']['facts']>({ survivedBytes: heldGiB * gib, end: 'as far as asked' }),
    ...more,
  };
}

/** Of one size alone, because a plan of the largest takes a while. */
function of(findings: Report['findings'], model: string): Verdict {
  const [verdict] = verdictsOf(findings, [model.toLowerCase().replace(' ', '-') as PresetName]);
  expect(verdict!.model).toBe(model);
  return verdict!;
}

test('every published size has a verdict, mixtures too', () => {
  const models = verdictsOf(mac(4)).map(({ model }) => model);
  const sizes = ['0.8B', '2B', '4B', '9B', '27B', '35B-A3B', '122B-A10B', '397B-A17B'];
  expect(models).toEqual([...sizes.map((size) => `Qwen3.5 ${size}`), 'Qwen3-Next 80B-A3B']);
});

describe('with 4 GiB held', () => {
  test.each([
    ['Qwen3.5 0.8B', 'memory'],
    ['Qwen3.5 4B', 'memory'],
    ['Qwen3.5 9B', 'streams'],
    ['Qwen3.5 27B', 'streams'],
    ['Qwen3.5 35B-A3B', 'streams'],
    ['Qwen3.5 397B-A17B', 'streams'],
  ])('%s: %s', (model, answer) => expect(of(mac(4), model).answer).toBe(answer));

  test('a resident model decodes at the rate of its products and dispatches', () => {
    const { tokensPerSecond, weightBytes } = of(mac(4), 'Qwen3.5 4B');
    const ms = weightBytes / 70e6 + (32 * 10 * 4) / 1000;
    expect(tokensPerSecond).toBeCloseTo(1000 / ms, 1);
  });

  test('a streamed one is as slow as the disk is for what does not fit, or slower', () => {
    const { tokensPerSecond, weightBytes, budgetBytes } = of(mac(4), 'Qwen3.5 27B');
    expect(tokensPerSecond).toBeLessThan(4e9 / (weightBytes - budgetBytes!));
    expect(tokensPerSecond).toBeGreaterThan(0.1);
  });
});

describe('a mixture', () => {
  test('streams where its experts cannot all be bound, however much memory there is', () => {
    const limits = { maxBufferSize: 2 ** 27, maxStorageBufferBindingSize: 2 ** 27 };
    const device = finding<Findings['device']['facts']>({ isCpu: false, limits });
    const { answer, words, budgetBytes } = of(mac(16, { device }), 'Qwen3.5 397B-A17B');
    expect({ answer, words }).toEqual({ answer: 'streams', words: expect.stringContaining('More memory would not help') });
    expect(budgetBytes).toBeLessThan(16 * gib);
  });

  test('takes its experts from random places, so the disk’s random reads decide', () => {
    const { tokensPerSecond, words } = of(mac(4), 'Qwen3.5 35B-A3B');
    const disk = (randomGBps: number) => finding<Findings['disk']['facts']>({ readGBps: 4, randomGBps });
    expect(of(mac(4, { disk: disk(0.2) }), 'Qwen3.5 35B-A3B').tokensPerSecond).toBeLessThan(tokensPerSecond! / 2);
    expect(words).toMatch(/at most [\d.]+ tokens\/s/);
  });

  test('runs more kernels in a layer than a dense model, and its speed in memory is no promise', () => {
    const speed = (us: number) => finding<Findings['speed']['facts']>({ dispatchUs: rate(us), encodeUs: rate(0) });
    const ms = (us: number) => 1000 / of(mac(32, { speed: speed(us) }), 'Qwen3.5 35B-A3B').tokensPerSecond!;
    expect(ms(10) - ms(0)).toBeCloseTo((40 * 14 * 10) / 1000, 6);
    expect(of(mac(32), 'Qwen3.5 35B-A3B').words).toContain('Fits in memory');
    expect(of(mac(32), 'Qwen3.5 35B-A3B').words).toContain('at most');
    expect(of(mac(32), 'Qwen3.5 27B').words).toContain('about');
  });
});

test('more memory is never a worse answer', () => {
  const speeds = [1, 2, 4, 8, 16, 32].map((held) => of(mac(held), 'Qwen3.5 27B').tokensPerSecond!);
  expect(speeds).toEqual([...speeds].sort((a, b) => a - b));
  expect(of(mac(32), 'Qwen3.5 27B').answer).toBe('memory');
});

test('too little memory for a ring of slots is said with what would do', () => {
  const { answer, words } = of(mac(0.25), 'Qwen3.5 27B');
  expect(answer).toBe('too large');
  expect(words).toMatch(/^Needs \d+ MiB; 256 MiB were held/);
});

test('a disk that grants too little is said', () => {
  const small = finding<Findings['browser']['facts']>({ storage: { quotaBytes: 2e9, usageBytes: 1e9, persisted: false } });
  expect(of(mac(4, { browser: small }), 'Qwen3.5 4B').words).toContain('the browser grants 954 MiB');
});

test('a CPU adapter gets no speeds', () => {
  const { limits } = mac(4).device!.facts;
  const device = finding<Findings['device']['facts']>({ isCpu: true, limits });
  for (const { tokensPerSecond } of verdictsOf(mac(4, { device }))) expect(tokensPerSecond).toBeUndefined();
});

test.each(['device', 'memory'] as const)('without a %s nothing is claimed', (name) => {
  const answers = verdictsOf(mac(4, { [name]: finding({}, 'failed') })).map(({ answer }) => answer);
  expect(new Set(answers)).toEqual(new Set(['unknown']));
});

test.each(['kernels', 'model', 'chat', 'upload', 'products'] as const)('nothing is recommended where %s are wrong', (name) => {
  const verdicts = verdictsOf(mac(32, { [name]: finding({}, 'failed') }));
  for (const { answer, tokensPerSecond } of verdicts) {
    expect(answer).toBe('unknown');
    expect(tokensPerSecond).toBeUndefined();
  }
});
