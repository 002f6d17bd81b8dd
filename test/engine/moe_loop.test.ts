/** A mixture that lacks some experts draws on the GPU what one with all of them draws there, and leaves the same state. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Generation, generate } from '../../src/engine/generate';
import { ModelSession, type SessionOptions, sessionPlan } from '../../src/engine/model_session';
import type { Gpu } from '../../src/gpu/device';
import { openDirectory } from '../../src/node/file_source';
import { openNodeGpu } from '../../src/node/open_gpu';
import type { GenerateRequest } from '../../src/protocol/engine';
import { openCheckpoint } from '../../src/stream/open_checkpoint';

const prompt = [1, 300, 200, 45, 500, 90];
const shape = { contextTokens: 64, chunkTokens: 16, kv: 'f32', f16: false, gpuLoop: true } as const;
const vocab = 512;

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openNodeGpu();
});
afterAll(() => gpu?.device.destroy());

async function open(options: Partial<SessionOptions> & { fewer?: number }): Promise<ModelSession> {
  const { fewer = 0, ...own } = options;
  const checkpoint = await openCheckpoint(await openDirectory(new URL('../fixtures/vectors/moe-4bit', import.meta.url).pathname));
  const { bytes, experts } = sessionPlan(gpu, checkpoint, shape);
  const budget = fewer > 0 ? { gpuBudgetBytes: bytes.total - fewer * experts!.slotBytes } : {};
  return ModelSession.load(gpu, checkpoint, { ...shape, ...budget, ...own });
}

/** Ids of a reply, and the logits after one more token: they tell whether the state is right. */
async function reply(session: ModelSession, asked: Partial<GenerateRequest>, signal = new AbortController().signal) {
  const ids: number[] = [];
  const openStream = () => ({
    push: async (added: readonly number[]) => {
      ids.push(...added);
      return { text: '', stopped: false, used: added.length };
    },
    finish: async () => '',
    close: () => {},
  });
  const text = { encode: async () => prompt, openStream } as unknown as Generation['text'];
  const generation = { session, text, defaults: { eosTokenIds: [] }, vocab, stopIds: new Set<number>() };
  const request: GenerateRequest = { prompt: { text: '' }, sampling: {}, maxTokens: 14, stop: [], ...asked };
  for await (const _ of generate(generation, request, signal));
  const { sequence, runner } = session;
  const { length } = sequence;
  const row: number[] = [];
  await runner.step([
    { sequence, tokens: Uint32Array.of(7), logits: 'last', onLogits: ({ values }) => row.push(...values.subarray(0, vocab)) },
  ]);
  return { ids, length, row };
}

test('the same tokens and the same state, whoever lacks experts and however they are asked for', {
  timeout: 240_000,
}, async () => {
  const sampling = { temperature: 1.2, top_k: 40, seed: 5, frequency_penalty: 0.5 };
  const all = await open({});
  const few = await open({ fewer: 50, speculation: 'on' });
  const asking = await open({ fewer: 50, speculation: 'off' });
  for (const session of [few, asking]) {
    expect(session.experts!.complete).toBe(false);
    expect(session.tokenLoops(vocab)).toBeDefined();
  }
  for (const asked of [{ sampling }, { sampling: { temperature: 0 } }]) {
    const expected = await reply(all, asked);
    expect(new Set(expected.ids).size).toBeGreaterThan(3);
    expect(await reply(few, asked)).toEqual(expected);
    expect(await reply(asking, asked)).toEqual(expected);
  }
  expect(few.experts!.counts.decode.misses).toBeGreaterThan(0);
  for (const session of [all, few, asking]) session.destroy();
});
