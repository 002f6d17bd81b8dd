/** The command line as a user types it: its files, its complaints, its text. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EngineError } from '../../src/errors';
import { score } from '../../src/node/score';
import { memorySource } from '../../src/storage/memory';
import { compare, readTensors } from '../model/vectors';
import { bundleCli, runCli } from './run_cli';

const root = fileURLToPath(new URL('../..', import.meta.url));
const vectors = join(root, 'test/fixtures/vectors/dense-4bit');
const story = join(root, 'demo/model');
let folder: string;
let bundle: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-cli-'));
  bundle = await bundleCli('cli-test');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const cli = (...args: string[]) => runCli(bundle, args);

const file = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};

/** The story model with one of its files replaced. */
function modelWith(name: string, text: string): string {
  const model = mkdtempSync(join(folder, 'model-'));
  cpSync(story, model, { recursive: true });
  writeFileSync(join(model, name), text);
  return model;
}

async function tensors(path: string) {
  const bytes = new Uint8Array(readFileSync(path));
  const raw = await readTensors(memorySource(bytes));
  return {
    floats: (name: string) => new Float32Array(raw.get(name)!.buffer),
    ints: (name: string) => new Int32Array(raw.get(name)!.buffer),
  };
}

test('score writes the logits that the reference gives, and one JSON line', async () => {
  const expected = await tensors(join(vectors, 'expected.safetensors'));
  const prompt = file('prompt.json', JSON.stringify([...expected.ints('input_ids')]));
  const more = file('more.json', JSON.stringify([...expected.ints('greedy_ids')]));
  const out = join(folder, 'out.safetensors');
  const { code, stdout, stderr } = await cli(
    'score',
    '--model',
    vectors,
    '--tokens',
    prompt,
    '--out',
    out,
    '--decode-tokens',
    more,
    '--greedy',
    '24',
  );
  expect(stderr.trim().split('\n').at(-1)).toMatch(/No GPU found|^$/);
  expect(code).toBe(0);
  const report = JSON.parse(stdout.trim().split('\n').at(-1)!);
  expect(report).toMatchObject({ chunk: 64, kv: 'f32', adapter: expect.anything(), variants: expect.anything() });
  for (const key of ['peakGpuBytes', 'prefillMs', 'decodeMs']) expect(report[key]).toBeGreaterThan(0);
  const ours = await tensors(out);
  expect(compare(ours.floats('logits'), expected.floats('logits'), 512).worstRow).toBeLessThanOrEqual(1e-3);
  expect(compare(ours.floats('decode_logits'), expected.floats('greedy_logits'), 512).worstRow).toBeLessThanOrEqual(1e-3);
  expect([...ours.ints('greedy_ids')]).toEqual([...expected.ints('greedy_ids')]);
});

describe('score --precision', () => {
  const run = async (...more: string[]) => {
    const expected = await tensors(join(vectors, 'expected.safetensors'));
    const greedy = expected.ints('greedy_ids').subarray(0, 3);
    const given = ['--tokens', file('precision.json', JSON.stringify([...expected.ints('input_ids')]))];
    const decode = ['--decode-tokens', file('precise.json', JSON.stringify([...greedy]))];
    const out = join(folder, `${more.join('-')}.safetensors`);
    const { code, stdout, stderr } = await cli('score', '--model', vectors, ...given, ...decode, '--out', out, ...more);
    expect([code, stderr.includes('sluice:')]).toEqual([0, false]);
    const { precision, variants } = JSON.parse(stdout.trim().split('\n').at(-1)!);
    const want = expected.floats('greedy_logits').subarray(0, 3 * 512);
    const { worstRow } = compare((await tensors(out)).floats('decode_logits'), want, 512);
    return { precision, variants: Object.values(variants).join(), worstRow };
  };

  test.each(['exact', 'fast'])('%s runs, and the JSON line names it', async (precision) => {
    const report = await run('--precision', precision);
    expect(report.precision).toBe(precision);
    expect(report.worstRow).toBeLessThanOrEqual(1e-3);
  });

  test('exact is the default', async () => expect((await run()).precision).toBe('exact'));

  test.runIf(process.env.SLUICE_LONG === '1').each([
    { precision: 'exact', units: 'f32x32', other: 'int16', most: 1e-3 },
    { precision: 'fast', units: 'int16', other: 'f32x32', most: 1e-2 },
  ])('$precision multiplies in $units on a GPU’s kernels', { timeout: 300_000 }, async ({ precision, units, other, most }) => {
    const { variants, worstRow } = await run('--precision', precision, '--kernels', 'gpu');
    expect(variants).toContain(units);
    expect(variants).not.toContain(other);
    expect(worstRow).toBeLessThanOrEqual(most);
  });

  test('anything else is an error with a code, which names the choices', async () => {
    const args = ['--model', vectors, '--tokens', file('one.json', '[1]'), '--out', join(folder, 'never')];
    const error = await score([...args, '--precision', 'quick']).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(EngineError);
    expect(error).toMatchObject({ code: 'invalid-request', message: "--precision must be exact or fast; it is 'quick'." });
  });
});

test('score of a mixture within a budget says what its tokens asked of the experts', async () => {
  const tokens = file('few.json', '[1, 300, 200, 45]');
  const model = join(root, 'test/fixtures/vectors/moe-4bit');
  const run = async (gpuBudget: string) => {
    const args = ['score', '--model', model, '--tokens', tokens, '--out', join(folder, 'mixture.safetensors')];
    const { code, stdout } = await cli(...args, '--decode-tokens', tokens, '--context', '124', '--gpu-budget', gpuBudget);
    expect(code).toBe(0);
    return JSON.parse(stdout.trim().split('\n').at(-1)!);
  };
  const { peakGpuBytes, experts } = await run('2500000');
  expect(peakGpuBytes).toBeLessThanOrEqual(2_500_000);
  const keys = ['slots', 'hits', 'misses', 'prefetchHits', 'bytesPerToken', 'syncsPerToken'];
  expect(Object.keys(experts)).toEqual(keys);
  expect(experts.slots).toBeLessThan(64);
  expect(experts.hits + experts.misses).toBe(4 * 4 * 4); // tokens, layers, experts of each
  for (const key of ['misses', 'bytesPerToken', 'syncsPerToken']) expect(experts[key]).toBeGreaterThan(0);
  const whole = await run('100MB');
  expect(whole.experts).toEqual({ slots: 64, hits: 64, misses: 0, prefetchHits: 0, bytesPerToken: 0, syncsPerToken: 0 });
});

describe('the final JSON line about a budget', () => {
  const tokens = () => file('eight.json', '[1, 300, 200, 45, 7, 8, 9, 10]');
  const scored = () => ['score', '--model', vectors, '--tokens', tokens(), '--out', join(folder, 'budget.safetensors')];
  const decoded = () => [...scored(), '--decode-tokens', tokens(), '--context', '64'];
  const told = ['generate', '--model', story, '--prompt', 'Once upon a time', '--max-tokens', '9', '--context', '64'];
  const lineOf = async (...args: string[]) => {
    const { code, stdout, stderr } = await cli(...args);
    expect([code, stderr.includes('sluice:')]).toEqual([0, false]);
    return JSON.parse(stdout.trim().split('\n').at(-1)!);
  };

  test.each([
    { command: 'score', args: decoded, budget: '2MB', bytes: 2e6 },
    { command: 'generate', args: () => told, budget: '6000000', bytes: 6e6 },
  ])('$command within $budget', async ({ args, budget, bytes }) => {
    const line = await lineOf(...args(), '--gpu-budget', budget);
    const { peakGpuBytes, residentBytes, streamedBytesPerToken, ioMs, uploadMs, throughMs, computeMs, tokenMs } = line;
    expect(line.gpuBudgetBytes).toBe(bytes);
    expect(peakGpuBytes).toBeLessThanOrEqual(bytes);
    expect(line.smallestBudgetBytes).toBeLessThanOrEqual(bytes);
    expect(residentBytes + line.ring.slots * line.ring.slotBytes).toBeLessThan(peakGpuBytes);
    const whole = await lineOf(...args(), ...(args().includes('score') ? [] : ['--json']));
    // What streams is what no longer stays. Embedding rows are read as tokens need them, and are neither.
    expect(streamedBytesPerToken).toBeGreaterThan(0);
    expect(residentBytes + streamedBytesPerToken).toBeLessThanOrEqual(whole.residentBytes);
    expect(residentBytes + streamedBytesPerToken).toBeGreaterThan(0.8 * whole.residentBytes);
    for (const ms of [ioMs, uploadMs, throughMs, computeMs, tokenMs]) expect(ms).toBeGreaterThan(0);
    const sum = ioMs + uploadMs + computeMs;
    const largest = Math.max(ioMs, uploadMs, computeMs);
    expect(line.overlap).toBeCloseTo((sum - tokenMs) / (sum - largest), 9);
    expect(whole).toMatchObject({ gpuBudgetBytes: null, streamedBytesPerToken: 0, ioMs: 0, uploadMs: 0, overlap: null });
    expect(whole.computeMs).toBe(whole.tokenMs);
    expect(whole.tokenMs).toBeGreaterThan(0);
  });

  test('without a token there is nothing to hold the parts against', async () => {
    const { tokenMs, overlap, ioMs } = await lineOf(...scored(), '--gpu-budget', '2MB');
    expect([tokenMs, overlap]).toEqual([null, null]);
    expect(ioMs).toBeGreaterThan(0);
  });
});

test('generate streams a story, the same for the same seed', async () => {
  const run = () =>
    cli(
      'generate',
      '--model',
      story,
      '--prompt',
      'Tell a story about a fox.',
      '--chat',
      '--max-tokens',
      '12',
      '--temperature',
      '0.9',
      '--seed',
      '5',
    );
  const [first, second] = [await run(), await run()];
  expect(first.code).toBe(0);
  expect(first.stdout.trim().length).toBeGreaterThan(20);
  expect(first.stdout).toBe(second.stdout);
});

test('generate --session: what an earlier run read is not read again, and says the same', async () => {
  const run = (...more: string[]) => cli('generate', '--model', story, '--max-tokens', '6', '--temperature', '0', ...more);
  const prompt = 'Once upon a time there was a fox who lived near the sea.';
  const alone = await run('--prompt', prompt);
  const session = join(folder, 'session');
  const first = await run('--prompt', prompt, '--session', session);
  expect(first).toMatchObject({ code: 0, stdout: alone.stdout, stderr: expect.not.stringContaining('known') });
  const again = await run('--prompt', prompt, '--session', session);
  expect(again).toMatchObject({
    code: 0,
    stdout: alone.stdout,
    stderr: expect.stringMatching(/^\d+ tokens known, 0 tokens in/m),
  });
  const otherwise = await run('--prompt', prompt, '--session', session, '--kv', 'f32');
  expect(otherwise).toMatchObject({ code: 0, stderr: expect.stringContaining('are read again') });
  expect((await run('--prompt', prompt, '--session', file('a file', ''))).stderr).toMatch(/a file/);
}, 120_000);

describe('complaints are one line, and the exit code is not 0', () => {
  const tokens = () => file('one.json', '[1]');
  const out = () => join(folder, 'never.safetensors');
  test.each([
    ['no command', () => [], /score \| generate/],
    ['an unknown command', () => ['scroe'], /'scroe'/],
    ['a missing option', () => ['score', '--tokens', tokens(), '--out', out()], /--model is missing/],
    ['experts of a trace, which are for speed alone', () => ['score', '--model', vectors, '--trace', 'real'], /--trace/],
    ['an unknown option', () => ['score', '--modle', 'x'], /--modle/],
    ['a stray word', () => ['generate', 'hello'], /hello/],
    [
      'a number that is none',
      () => ['score', '--model', vectors, '--tokens', tokens(), '--out', out(), '--chunk', 'many'],
      /--chunk/,
    ],
    ['a chunk too long', () => ['score', '--model', vectors, '--tokens', tokens(), '--out', out(), '--chunk', '513'], /--chunk/],
    [
      'a context too short',
      () => ['score', '--model', vectors, '--tokens', file('two.json', '[1,2]'), '--out', out(), '--context', '1'],
      /--context/,
    ],
    [
      'a precision that is none',
      () => ['score', '--model', vectors, '--tokens', tokens(), '--out', out(), '--precision', 'quick'],
      /--precision must be exact or fast; it is 'quick'/,
    ],
    ['a choice that is none', () => ['score', '--model', vectors, '--tokens', tokens(), '--out', out(), '--kv', 'f8'], /--kv/],
    [
      'a feature that is none',
      () => ['score', '--model', vectors, '--tokens', tokens(), '--out', out(), '--disable', 'wings'],
      /--disable/,
    ],
    [
      'a missing token file',
      () => ['score', '--model', vectors, '--tokens', join(folder, 'nowhere.json'), '--out', out()],
      /nowhere\.json/,
    ],
    ['bad JSON', () => ['score', '--model', vectors, '--tokens', file('bad.json', '[1, 2'), '--out', out()], /not valid JSON/],
    [
      'JSON that is no list',
      () => ['score', '--model', vectors, '--tokens', file('object.json', '{"a": 1}'), '--out', out()],
      /list of token ids/,
    ],
    [
      'an empty list',
      () => ['score', '--model', vectors, '--tokens', file('empty.json', '[]'), '--out', out()],
      /list of token ids/,
    ],
    [
      'a token outside the vocabulary',
      () => ['score', '--model', vectors, '--tokens', file('big.json', '[512]'), '--out', out()],
      /512/,
    ],
    [
      'a model that is not there',
      () => ['score', '--model', join(folder, 'nothing'), '--tokens', tokens(), '--out', out()],
      /nothing/,
    ],
    ['a folder without a model', () => ['score', '--model', folder, '--tokens', tokens(), '--out', out()], /config\.json/],
    [
      'a file that cannot be written',
      () => ['score', '--model', vectors, '--tokens', tokens(), '--out', join(folder, 'no/such/folder.safetensors')],
      /--out/,
    ],
    ['an empty prompt', () => ['generate', '--model', story, '--prompt', ''], /--prompt is missing/],
    ['a temperature too high', () => ['generate', '--model', story, '--prompt', 'x', '--temperature', '3'], /--temperature/],
    ['a seed that looks like an option', () => ['generate', '--model', story, '--prompt', 'x', '--seed', '-5'], /--seed=-/],
    [
      'a config that is no JSON',
      () => ['score', '--model', modelWith('config.json', '{'), '--tokens', tokens(), '--out', out()],
      /config\.json/,
    ],
    [
      'a tokenizer that is no JSON',
      () => ['generate', '--model', modelWith('tokenizer.json', '{'), '--prompt', 'x'],
      /tokenizer\.json/,
    ],
    [
      'a context beyond the model',
      () => ['generate', '--model', story, '--prompt', 'x', '--context', '9999999'],
      /contextTokens/,
    ],
    ['a model without a tokenizer', () => ['generate', '--model', vectors, '--prompt', 'x'], /tokenizer\.json/],
  ] as [string, () => string[], RegExp][])('%s', async (_, args, message) => {
    const { code, stdout, stderr } = await cli(...args());
    expect(code).not.toBe(0);
    expect(stdout).toBe('');
    const lines = stderr.trim().split('\n');
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(message);
  });
});
