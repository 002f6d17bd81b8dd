/** What the GPU's own decoding reads is known to the prefix cache: a second turn reuses it, and says what it says without a cache. */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { type Generation, generate } from '../../src/engine/generate';
import { newJournal } from '../../src/engine/journal';
import { ModelSession } from '../../src/engine/model_session';
import { PrefixCache } from '../../src/engine/prefix_cache';
import type { Gpu } from '../../src/gpu/device';
import { openDirectory } from '../../src/node/file_source';
import { openNodeGpu } from '../../src/node/open_gpu';
import type { GenerateRequest } from '../../src/protocol/engine';
import { openCheckpoint } from '../../src/stream/open_checkpoint';

type Reply = { ids: number[]; cached: number };

/** Stands for what closes a think block. */
const closing = [77, 78, 79];
const prompt = [1, 300, 1200, 45, 700, 90, 12, 13];
const signal = new AbortController().signal;
let gpu: Gpu;
let session: ModelSession;
let cache: PrefixCache;

beforeAll(async () => {
  gpu = await openNodeGpu();
  const checkpoint = await openCheckpoint(await openDirectory(new URL('../../demo/model', import.meta.url).pathname));
  const options = { contextTokens: 128, chunkTokens: 32, kv: 'f32', f16: false, gpuLoop: true } as const;
  session = await ModelSession.load(gpu, checkpoint, options);
  cache = new PrefixCache(session, { copyBytes: 2 ** 24 });
});
afterAll(() => session.destroy());

type Asked = Partial<GenerateRequest> & {
  stopIds?: number[];
  stopAfter?: number;
  known?: PrefixCache;
  journal?: { ids: number[] };
  thinkAt?: number;
};

/** `stopAfter`: the text of so many ids completes a stop string. `thinkAt`: the last of so many opens a think block, in a reply to messages. */
async function run(
  ids: number[],
  { stopIds = [], stopAfter = Number.POSITIVE_INFINITY, known, journal, thinkAt, ...asked }: Asked,
) {
  const reply: Reply = { ids: [], cached: 0 };
  const text = {
    encode: async (written: string) => (written.includes('</think>') ? closing : ids),
    encodeChat: async () => ({ ids, opensThinking: false }),
    openStream: () => ({
      push: async (added: readonly number[]) => {
        reply.ids.push(...added);
        const tag = added.join() === closing.join() ? '</think>' : reply.ids.length === thinkAt ? '<think>' : undefined;
        return { text: tag ?? 'x'.repeat(added.length), stopped: reply.ids.length >= stopAfter, used: added.length };
      },
      finish: async () => '',
      close: () => {},
    }),
  };
  const parts = { session, text, defaults: { eosTokenIds: [] }, vocab: 4096, stopIds: new Set(stopIds), cache: known };
  const request: GenerateRequest = { prompt: { text: '' }, sampling: { temperature: 0 }, maxTokens: 24, stop: [], ...asked };
  const resumed = { ...newJournal(), pieces: (journal?.ids ?? []).map((id) => [id]), draws: journal?.ids.length ?? 0 };
  for await (const event of generate(parts as unknown as Generation, request, signal, resumed))
    if (event.type === 'done') reply.cached = event.usage.prompt_tokens_details!.cached_tokens!;
  return reply;
}

const sampling = { temperature: 0.8, top_k: 40, seed: 3 };

test('the loop draws', () => expect(session.tokenLoops(4096)).toBeDefined());

describe.each([
  { how: 'a stop id', end: (ids: number[]) => ({ stopIds: [ids[9]!] }) },
  { how: 'a stop string', end: () => ({ stopAfter: 10 }) },
])('a reply that $how ends', ({ how, end }) => {
  test('the second turn reuses its prefix and gives the same ids', async () => {
    const { ids: straight } = await run(prompt, { sampling });
    cache.forget();
    const one = await run(prompt, { sampling, ...end(straight), known: cache });
    expect(one.cached).toBe(0);
    const byId = how === 'a stop id';
    const said = byId ? straight.slice(0, straight.indexOf(straight[9]!)) : straight.slice(0, 10);
    expect(one.ids).toEqual(said);
    const next = [...prompt, ...said, 2, 7, 500, 501];
    const second = { sampling: { ...sampling, seed: 4 } };
    const two = await run(next, { ...second, known: cache });
    // Behind a stop string the loop had read on: the prompt's end is what can be gone back to.
    expect(two.cached).toBe(byId ? prompt.length + said.length : prompt.length);
    const fresh = await run(next, second);
    expect(two.ids).toEqual(fresh.ids);
    expect(two.ids.length).toBe(24);
    const again = await run(next, { ...second, known: new PrefixCache(session, { copyBytes: 0 }) });
    expect(again).toEqual({ ids: fresh.ids, cached: 0 });
  });
});

test('the same prompt again is drawn from the logits that were kept; so are further choices', async () => {
  cache.forget();
  const one = await run(prompt, { sampling, known: cache });
  const again = await run(prompt, { sampling, known: cache });
  expect(again).toEqual({ ids: one.ids, cached: prompt.length });
  const both = await run(prompt, { sampling, choices: 2, maxTokens: 8, known: cache });
  const other = await run(prompt, { sampling: { ...sampling, seed: 4 }, maxTokens: 8 });
  expect(both.ids).toEqual([...one.ids.slice(0, 8), ...other.ids]);
});

test('a reply that goes on elsewhere draws the rest with the numbers that come next', async () => {
  const whole = await run(prompt, { sampling });
  cache.forget();
  const rest = await run(prompt, { sampling, known: cache, journal: { ids: whole.ids.slice(0, 9) } });
  expect(rest.ids).toEqual(whole.ids);
});

test('without thinking the loop draws too, and goes back for a think block that opens unasked', async () => {
  const begun = vi.spyOn(session, 'tokenLoops');
  const usual = await run(prompt, { sampling });
  const off = {
    reasoningBudgetTokens: 0,
    prompt: { messages: [{ role: 'user', content: 'x' }], templateKwargs: {} },
  } as Partial<GenerateRequest>;
  begun.mockClear();
  expect(await run(prompt, { sampling, ...off })).toEqual(usual);
  expect(begun).toHaveBeenCalledTimes(1);
  begun.mockClear();
  cache.forget();
  const greedy = { temperature: 0, repetition_penalty: 1.3 };
  const opened = await run(prompt, { sampling: greedy, ...off, thinkAt: 1, known: cache });
  expect(begun).toHaveBeenCalledTimes(2); // before the block and behind it
  expect(opened.ids.slice(1, 4)).toEqual(closing);
  expect(opened.ids.length).toBe(24);
  begun.mockClear();
  const byCpu = await run(prompt, { sampling: { ...greedy, logit_bias: { 5: 0 } }, ...off, thinkAt: 1 });
  expect(begun).not.toHaveBeenCalled();
  expect(byCpu.ids).toEqual(opened.ids);
  begun.mockRestore();
});

test.each([
  { drawn: 'by the GPU', sampling },
  { drawn: 'by the CPU', sampling: { ...sampling, logit_bias: { 5: 0 } } },
])('what led to logits that are not finite is not kept, drawn $drawn', async ({ sampling }) => {
  const next = [...prompt, 2, 7, 500, 501];
  const asked = { sampling, maxTokens: 4 };
  const right = await run(next, asked);
  cache.forget();
  await run(prompt, { ...asked, known: cache, maxTokens: 1 });
  const { buffer, byteOffset, bytes } = session.sequence.keysAndValues(prompt.length)[0]!;
  gpu.device.queue.writeBuffer(buffer, byteOffset, new Float32Array(bytes / 4).fill(Number.NaN));
  expect(cache.known(Uint32Array.from(next))).toBe(prompt.length);
  await expect(run(next, { ...asked, known: cache })).rejects.toMatchObject({ code: 'non-finite' });
  expect(await run(next, { ...asked, known: cache })).toEqual({ ids: right.ids, cached: 0 });
});
