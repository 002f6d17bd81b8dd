/** Prefix reuse: only what is new is read, and the logits are those of a fresh prefill, whatever was read, copied or broken off before. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LogitRow } from '../../src/engine/logit_row';
import { ModelSession, type SessionOptions, sessionPlan } from '../../src/engine/model_session';
import { commonPrefix, type Ids, PrefixCache } from '../../src/engine/prefix_cache';
import { Random } from '../../src/engine/random';
import type { Gpu } from '../../src/gpu/device';
import { openNodeGpu } from '../../src/node/open_gpu';
import { tokenLoopBytes } from '../../src/plan/shapes';
import type { OpenedCheckpoint } from '../../src/stream/open_checkpoint';
import { openSynthetic, someIds, tinyShapes } from './memory_model';

const options: SessionOptions = { contextTokens: 192, chunkTokens: 16, kv: 'f16', f16: false };
let gpu: Gpu;
let checkpoint: OpenedCheckpoint;

beforeAll(async () => {
  gpu = await openNodeGpu();
  checkpoint = await openSynthetic({ shapes: tinyShapes, bits: 4 });
});
afterAll(() => gpu.device.destroy());

const ids = (count: number, seed: number): number[] => [...someIds(count, 300, seed)];
const signal = new AbortController().signal;

function smallest(): number {
  try {
    sessionPlan(gpu, checkpoint, { ...options, gpuBudgetBytes: 1 });
  } catch (error) {
    return Number(/at least (\d+) bytes/.exec((error as Error).message)![1]);
  }
  throw new Error('A budget of one byte was accepted.');
}

type Cached = { session: ModelSession; cache: PrefixCache };

async function open(more: Partial<SessionOptions> = {}, copyBytes = 2 ** 26, device = gpu): Promise<Cached> {
  const session = await ModelSession.load(device, checkpoint, { ...options, ...more });
  return { session, cache: new PrefixCache(session, { copyBytes }) };
}

async function read({ session, cache }: Cached, tokens: readonly number[], turnEnd?: number) {
  const row = new LogitRow(session.config.vocabSize);
  const { cachedTokens } = await cache.read(Uint32Array.from(tokens), { row, signal, turnEnd });
  expect(session.sequence.length).toBe(tokens.length);
  return { cachedTokens, logits: row.values.slice() };
}

/** Logits after the last token, read in one go by a sequence that knows nothing. */
async function fresh({ session }: Pick<Cached, 'session'>, tokens: readonly number[]): Promise<Float32Array> {
  const { sequence, runner, config } = session;
  const row = new LogitRow(config.vocabSize);
  sequence.reset();
  await runner.step([{ sequence, tokens: Uint32Array.from(tokens), logits: 'last', onLogits: row.add }]);
  return row.values.slice();
}

const deviation = (a: Float32Array, b: Float32Array) => a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0);

describe.each([
  { what: 'slots on the GPU', slots: 4, more: () => ({}) },
  { what: 'slots on the GPU, chunks share passes', slots: 4, more: () => ({ answerWhileLoading: true }) },
  { what: 'no slot: states on the CPU, everything streams', slots: 0, more: () => ({ gpuBudgetBytes: smallest() }) },
])('$what', ({ slots, more }) => {
  let cached: Cached;
  let reference: Cached;
  const preamble = ids(20, 1);
  const turn1 = [...preamble, ...ids(21, 2)];
  const opening = [7, 8, 9];
  const reply = ids(6, 3);

  beforeAll(async () => {
    cached = await open(more());
    expect(cached.session.plan.snapshotSlots).toBe(slots);
    reference = await open({}, 0);
  });
  afterAll(() => {
    const { gpu, plan, config } = cached.session;
    const unused = plan.streamedBytesPerToken === 0 ? tokenLoopBytes(config.vocabSize) : 0; // nothing is drawn here
    expect(gpu.memory.peakBytes).toBe(plan.bytes.total - unused);
    cached.session.destroy();
    reference.session.destroy();
  });

  const expectCached = async (tokens: readonly number[], expected: number, turnEnd?: number) => {
    const { cachedTokens, logits } = await read(cached, tokens, turnEnd);
    expect(cachedTokens).toBe(expected);
    const straight = await fresh(reference, tokens);
    expect(straight.some((value) => Math.abs(value) > 0.1)).toBe(true);
    expect(deviation(logits, straight)).toBeLessThan(1e-3);
  };
  const say = async (tokens: readonly number[]) => {
    const row = new LogitRow(cached.session.config.vocabSize);
    for (const token of tokens) await cached.cache.extend([token], row, signal);
  };

  test('a conversation: next turn, the same prompt again, a rewritten reply, another conversation and back', async () => {
    const prompt = [...turn1, ...opening];
    await expectCached(prompt, 0, turn1.length);
    await say(reply);
    const next = [...prompt, ...reply, 11, ...ids(20, 4)];
    await expectCached(next, prompt.length + reply.length, next.length - 3);
    // The reply that was part of `next` is written otherwise: back to the end of the first message.
    const rewritten = [...turn1, 5, ...reply, 11, ...ids(20, 5)];
    await expectCached(rewritten, turn1.length, rewritten.length - 3);
    const withLogits = slots > 0 ? rewritten.length : rewritten.length - 3;
    await expectCached(rewritten, withLogits, rewritten.length - 3);
    await say(reply);
    // Another one with the same preamble, and another: the second finds where the first left.
    const other = [...preamble, ...ids(24, 6)];
    await expectCached(other, 0, other.length - 3);
    if (slots > 0) await expectCached([...preamble, ...ids(24, 7)], preamble.length);
    // Back to the first, which was copied to the CPU.
    const later = [...rewritten, ...reply, 12, 13];
    await expectCached(later, rewritten.length + reply.length, later.length);
    expect(cached.cache.copiedBytes).toBeGreaterThan(0);
  });

  test('a step that breaks off costs what it read, not what was known', async () => {
    cached.cache.forget();
    const prompt = [...ids(40, 8), ...opening];
    await expectCached(prompt, 0, 40);
    const known = slots > 0 ? prompt.length : 40;
    const stop = new AbortController();
    const row = new LogitRow(cached.session.config.vocabSize);
    const longer = [...prompt, ...ids(60, 9)];
    const onProgress = () => stop.abort();
    await expect(
      cached.cache.read(Uint32Array.from(longer), { row, signal: stop.signal, onProgress, turnEnd: longer.length }),
    ).rejects.toMatchObject({ name: 'AbortError' });
    await expectCached(longer, known, longer.length);
  });

  test('what others do to the sequence is seen: nothing stale is taken for a prefix', async () => {
    const prompt = ids(40, 10);
    await expectCached(prompt, 0);
    await fresh(cached, ids(10, 11));
    await expectCached([...prompt, 1], 0);
    await cached.session.measureCompute();
    await expectCached([...prompt, 1, 2], 0);
  });
});

// Compiling these for a CPU takes minutes.
if (process.env.SLUICE_LONG)
  test("a GPU's kernels: state is kept in the middle of a chunk, and gone back to", async () => {
    const cached = await open({}, 0, { ...gpu, direct: false });
    const turn = ids(17, 31);
    await read(cached, [...turn, 1, 2, 3], 17);
    const rewritten = [...turn, ...ids(4, 32)];
    const { cachedTokens, logits } = await read(cached, rewritten);
    expect(cachedTokens).toBe(17);
    expect(deviation(logits, await fresh(cached, rewritten))).toBeLessThan(1e-3);
    cached.session.destroy();
  }, 300_000);

test('the same prompt again: the same logits, bit for bit, and nothing read', async () => {
  const cached = await open();
  const prompt = ids(50, 12);
  const first = await read(cached, prompt, 45);
  const row = new LogitRow(cached.session.config.vocabSize);
  await cached.cache.extend([3], row, signal);
  const { cachedTokens, logits } = await read(cached, prompt, 45);
  expect(cachedTokens).toBe(50);
  expect(logits).toEqual(first.logits);
  await cached.cache.extend([3], row, signal);
  const again = row.values.slice();
  cached.session.destroy();
  const straight = await open();
  await read(straight, prompt, 45);
  const other = new LogitRow(straight.session.config.vocabSize);
  await straight.cache.extend([3], other, signal);
  expect(again).toEqual(other.values);
  straight.session.destroy();
});

test('of three conversations where there is room for two, the one that was not touched for longest goes', async () => {
  const { session, cache } = await open();
  const [a, b, c, d, short] = [ids(40, 43), ids(40, 44), ids(40, 45), ids(40, 46), ids(10, 47)];
  for (const tokens of [[...a, 1], b]) await read({ session, cache }, tokens);
  const oneCopy = cache.copiedBytes;
  expect(oneCopy).toBeGreaterThan(0);
  const withRoomForTwo = (): Cached => ({ session, cache: new PrefixCache(session, { copyBytes: 2 * oneCopy }) });
  const knows = ({ cache }: Cached, ...all: number[][]) =>
    all.map((tokens) => cache.known(Uint32Array.from([...tokens, 1, 2])) >= tokens.length);

  const touched = withRoomForTwo();
  for (const tokens of [a, b, short]) await read(touched, tokens);
  expect(knows(touched, a, b)).toEqual([true, true]); // copies; what is running is too short to become one
  expect((await read(touched, [...a, 1])).cachedTokens).toBe(a.length);
  await read(touched, c);
  expect(knows(touched, a, b, c)).toEqual([true, false, true]);
  await read(touched, d);
  expect(knows(touched, a, b, c, d)).toEqual([true, false, true, true]);

  const untouched = withRoomForTwo();
  for (const tokens of [a, b, c, d]) await read(untouched, tokens);
  expect(knows(untouched, a, b, c, d)).toEqual([false, true, true, true]);
  session.destroy();
});

test.each([
  { copyBytes: 2 ** 26, budget: false, seed: 21 },
  { copyBytes: 60_000, budget: false, seed: 23 },
  { copyBytes: 300_000, budget: true, seed: 24 },
])(
  'a tree of conversations in random order, copies of $copyBytes bytes, smallest budget: $budget',
  async ({ copyBytes, budget, seed }) => {
    const random = new Random(seed);
    const pick = (n: number) => Math.floor(random.next() * n);
    const cached = await open(budget ? { gpuBudgetBytes: smallest() } : {}, copyBytes);
    const reference = await open({}, 0);
    const said: number[][] = [[]];
    let saved = 0;
    for (let i = 0; i < 16; i++) {
      const from = said[pick(said.length)]!;
      const begin = from.slice(0, pick(3) === 0 ? pick(from.length + 1) : from.length);
      const prompt = [...begin, ...ids(1 + pick(20), 1000 + i)].slice(0, 150);
      const { cachedTokens, logits } = await read(cached, prompt, pick(2) ? Math.max(1, prompt.length - 2) : undefined);
      saved += cachedTokens;
      expect(cachedTokens).toBeLessThanOrEqual(Math.max(...said.map((each) => commonPrefix(each, prompt))));
      expect(deviation(logits, await fresh(reference, prompt))).toBeLessThan(1e-3);
      expect(cached.cache.copiedBytes).toBeLessThanOrEqual(copyBytes);
      const row = new LogitRow(cached.session.config.vocabSize);
      const reply = ids(pick(4), 2000 + i);
      for (const token of reply) await cached.cache.extend([token], row, signal);
      said.push([...prompt, ...reply]);
      if (said.length > 6) said.splice(pick(6), 1);
      if (pick(8) === 0) cached.cache.forget();
    }
    expect(saved).toBeGreaterThan(50);
    cached.session.destroy();
    reference.session.destroy();
  },
  60_000,
);

test('tokens are compared, whatever holds them', () => {
  expect(commonPrefix([1, 2, 3], Uint32Array.of(1, 2, 4) as Ids)).toBe(2);
  expect(commonPrefix([], [1])).toBe(0);
  expect(commonPrefix([1, 2], [1, 2])).toBe(2);
});
