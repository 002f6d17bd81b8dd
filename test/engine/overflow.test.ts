/** Prompt and reply outgrow a context of 56 tokens: the bundled model, whole path, under each contextOverflow. */
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EngineCore } from '../../src/engine/engine_core';
import { type Generation, generate } from '../../src/engine/generate';
import { LogitRow } from '../../src/engine/logit_row';
import { PromptWindow, turnsOf } from '../../src/engine/overflow';
import { argmax } from '../../src/engine/sampling';
import type { Gpu } from '../../src/gpu/device';
import type { SavedSequence } from '../../src/model/sequence';
import { openDirectory } from '../../src/node/file_source';
import { openNodeGpu } from '../../src/node/open_gpu';
import { spawnTextWorker } from '../../src/node/text_worker_spawn';
import type { ContextOverflow, EngineConfig, GenerateEvent, GenerateRequest } from '../../src/protocol/engine';
import type { ModelFiles } from '../../src/storage/byte_source';
import { openModelSource } from '../../src/stream/model_source';
import { createTextHost, type TextHost } from '../../src/text/text_host';
import { bundleTextWorker } from '../text/bundled_worker';

type Message = Record<string, unknown>;

const contextTokens = 56;
let gpu: Gpu;
let files: ModelFiles;
let text: TextHost;
let core: EngineCore;
let script: { url: URL; remove(): void };

const open = async (config: EngineConfig) =>
  EngineCore.load({ gpu, model: await openModelSource(files), text }, { chunkTokens: 16, ...config });

beforeAll(async () => {
  script = await bundleTextWorker();
  gpu = await openNodeGpu();
  files = await openDirectory(new URL('../../demo/model', import.meta.url).pathname);
  text = createTextHost({ spawn: () => spawnTextWorker(script.url) });
  core = await open({ contextTokens });
});

afterAll(() => {
  core.destroy();
  text.dispose();
  files.close();
  script.remove();
});

const system = { role: 'system', content: 'Be kind.' };
const older = [
  { role: 'user', content: 'Who are you?' },
  { role: 'assistant', content: 'A fox.' },
];
const last = { role: 'user', content: 'Tell a story about a fox.' };
const long = { role: 'user', content: 'word '.repeat(80) };
const templateKwargs = { enable_thinking: false };

const ask = (messages: Message[], maxTokens?: number): GenerateRequest => ({
  prompt: { messages, templateKwargs },
  sampling: { temperature: 0 },
  maxTokens,
  stop: [],
});

/** Nothing but the context ends a reply: no id does. */
const under = (overflow: ContextOverflow, engine = core): Generation => ({
  session: engine.session,
  text,
  defaults: { eosTokenIds: [] },
  vocab: engine.session.config.vocabSize,
  stopIds: new Set(),
  overflow,
});

type Done = Extract<GenerateEvent, { type: 'done' }>;
type Result = { text: string; events: GenerateEvent[]; done: Done | undefined; error: unknown };

async function run(generation: Generation, request: GenerateRequest, signal = new AbortController().signal): Promise<Result> {
  const events: GenerateEvent[] = [];
  let error: unknown;
  try {
    for await (const event of generate(generation, request, signal)) events.push(event);
  } catch (thrown) {
    error = thrown;
  }
  const said = events.map((event) => (event.type === 'text' ? event.text : '')).join('');
  return { text: said, events, done: events.find((event) => event.type === 'done'), error };
}

const promptIds = async (messages: Message[]) =>
  text.encode(await text.render({ messages, templateKwargs }), { allowSpecialTokens: true });

describe('a prompt that leaves no room', () => {
  test.each(['error', 'stop'] as const)("'%s' refuses it before anything runs", async (overflow) => {
    const { events, error } = await run(under(overflow), ask([...older, long]));
    expect(error).toMatchObject({ code: 'context-length', message: expect.stringMatching(/prompt has \d+ tokens.*holds 56/) });
    expect(events).toEqual([]);
  });

  test.each([
    { what: 'messages', request: ask([system, ...older, long]) },
    { what: 'text', request: { ...ask([]), prompt: { text: 'word '.repeat(80) } } },
  ])("'truncate' refuses $what of which too much must stay", async ({ request }) => {
    const { events, error } = await run(under('truncate'), request);
    expect(error).toMatchObject({ code: 'context-length' });
    expect(events).toEqual([]);
  });

  test("'error' refuses a max_tokens that does not fit beside it and names the largest that does", async () => {
    const { length } = await promptIds([last]);
    const refused = await run(under('error'), ask([last], contextTokens - length + 1));
    expect(refused.events).toEqual([]);
    expect(refused.error).toMatchObject({
      code: 'context-length',
      message: expect.stringContaining(`Lower max_tokens to ${contextTokens - length},`),
    });
    const filled = await run(under('error'), ask([...older, last], contextTokens - (await promptIds([...older, last])).length));
    expect(filled.done).toMatchObject({ finishReason: 'length', usage: { total_tokens: contextTokens } });
  });

  test("'truncate' drops as few of the oldest turns as it must, keeps the system message, and says so", async () => {
    const messages = [long, { role: 'assistant', content: 'Yes.' }, system, ...older, last];
    const kept = await run(under('truncate'), ask([system, ...older, last], 4));
    const { text: reply, done } = await run(under('truncate'), ask(messages, 4));
    expect(reply).toBe(kept.text);
    expect(done!.usage).toEqual({ ...kept.done!.usage, truncated_messages: 2 });
    expect(kept.done!.usage).not.toHaveProperty('truncated_messages');
    expect(done!.usage.prompt_tokens).toBe((await promptIds([system, ...older, last])).length);
  });

  test("'truncate' reserves max_tokens, but no more than half of the context", async () => {
    const dropped = async (maxTokens: number) => {
      const controller = new AbortController();
      for await (const event of generate(under('truncate'), ask([...older, last], maxTokens), controller.signal))
        if (event.type === 'prefill') return event.total < (await promptIds([...older, last])).length;
    };
    const { length } = await promptIds([...older, last]);
    expect(length).toBeGreaterThan(contextTokens / 2);
    expect(await dropped(contextTokens - length)).toBe(false);
    expect(await dropped(contextTokens - length + 1)).toBe(true);
    const { length: needed } = await promptIds([last]);
    expect(needed).toBeLessThanOrEqual(contextTokens / 2);
    expect(await dropped(100_000)).toBe(true); // and is no error
  });
});

describe('a reply that fills the context', () => {
  test("'stop' ends it with 'length', 'error' with an error after the same text", async () => {
    const stopped = await run(under('stop'), ask([...older, last], 1000));
    expect(stopped.done).toMatchObject({ finishReason: 'length', usage: { total_tokens: contextTokens } });
    const failed = await run(under('error'), ask([...older, last]));
    expect(failed.error).toMatchObject({ code: 'context-length', message: expect.stringMatching(/cut off after \d+ tokens/) });
    expect(failed.done).toBeUndefined();
    expect(failed.text).toBe(stopped.text);
    expect(failed.text).toMatch(/^Once upon a time/);
  });

  test.each([
    { what: 'one turn alone', prompt: { messages: [system, last], templateKwargs } },
    { what: 'text', prompt: { text: 'word '.repeat(50) } },
  ])("'truncate' ends it with 'length' where no turn can be dropped: $what", async ({ prompt }) => {
    const { done } = await run(under('truncate'), { ...ask([]), prompt });
    expect(done).toMatchObject({ finishReason: 'length', usage: { total_tokens: contextTokens } });
    expect(done!.usage).not.toHaveProperty('truncated_messages');
  });

  test("'truncate' goes on as a fresh engine does with the turns that stay and the reply so far", async () => {
    const [before, after] = [await promptIds([...older, last]), await promptIds([last])];
    const fresh = await open({ contextTokens: 128 });
    const untilFull = await greedy(fresh, before, contextTokens - before.length);
    const afterwards = await greedy(fresh, [...after, ...untilFull], contextTokens - after.length - untilFull.length);
    const state = digest(await fresh.session.sequence.save());
    fresh.destroy();
    const { text: reply, events, done } = await run(under('truncate'), ask([...older, last]));
    expect(digest(await core.session.sequence.save()), 'keys, values and recurrent state, bit for bit').toEqual(state);
    const ids = [...untilFull, ...afterwards];
    expect(untilFull.length).toBeGreaterThan(4);
    expect(afterwards.length).toBeGreaterThan(4);
    expect(reply).toBe(await text.decode(ids));
    expect(done).toMatchObject({
      finishReason: 'length',
      usage: { prompt_tokens: before.length, completion_tokens: ids.length, truncated_messages: 2 },
      timings: { prefillTokens: before.length + after.length + untilFull.length, decodeTokens: ids.length - 1 },
    });
    expect(prefills(events)).toEqual([before.length, after.length + untilFull.length]);
    expect(done!.timings.decodeMs).toBeGreaterThan(0);
  });

  test('each choice begins with the whole prompt, whatever the one before had to drop', async () => {
    const one = await run(under('truncate'), ask([...older, last]));
    const { events, done } = await run(under('truncate'), { ...ask([...older, last]), choices: 2 });
    const end = events.findIndex(({ type }) => type === 'choice_end');
    const said = (part: GenerateEvent[]) => part.map((event) => (event.type === 'text' ? event.text : '')).join('');
    expect([said(events.slice(0, end)), said(events.slice(end))]).toEqual([one.text, one.text]);
    expect(events[end]).toEqual({ type: 'choice_end', finishReason: 'length' });
    expect(done!.usage).toMatchObject({ completion_tokens: 2 * one.done!.usage.completion_tokens, truncated_messages: 2 });
    expect(done!.timings.decodeTokens).toBe(2 * one.done!.timings.decodeTokens);
  });

  test('a stop string across the place where turns are dropped ends it', async () => {
    const whole = await run(under('truncate'), ask([...older, last]));
    const full = whole.events.findLastIndex(({ type }) => type === 'prefill');
    const until = whole.events.slice(0, full).map((event) => (event.type === 'text' ? event.text : ''));
    const stop = whole.text.slice(until.join('').length - 5, until.join('').length + 5);
    expect(whole.text.indexOf(stop)).toBe(until.join('').length - 5);
    const { text: reply, done } = await run(under('truncate'), { ...ask([...older, last]), stop: [stop] });
    expect(reply).toBe(whole.text.slice(0, whole.text.indexOf(stop)));
    expect(done).toMatchObject({ finishReason: 'stop', usage: { truncated_messages: 2 } });
  });

  test('a cancel while it is read again rejects with AbortError, and the next request is unharmed', async () => {
    const controller = new AbortController();
    const seen: GenerateEvent[] = [];
    const cancelled = (async () => {
      for await (const event of generate(under('truncate'), ask([...older, last]), controller.signal)) {
        seen.push(event);
        const again = event.type === 'prefill' && seen.some(({ type }) => type === 'text');
        if (again && event.done < event.total) controller.abort();
      }
    })();
    await expect(cancelled).rejects.toMatchObject({ name: 'AbortError' });
    expect(seen.at(-1)!.type).toBe('prefill');
    expect((await run(under('truncate'), ask([last], 8))).text).toMatch(/^In a lush, green/);
  });
});

test('leaving the loop in mid-prefill leaves no step behind', async () => {
  for await (const event of generate(under('stop'), ask([...older, last]), new AbortController().signal))
    if (event.type === 'prefill' && event.done < event.total) break;
  const { length } = core.session.sequence;
  expect(length).toBeLessThan((await promptIds([...older, last])).length);
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(core.session.sequence.length).toBe(length);
});

test('the engine passes contextOverflow on', async () => {
  const stopping = await open({ contextTokens: 32, contextOverflow: 'stop' });
  const events: GenerateEvent[] = [];
  for await (const event of stopping.generate(ask([last]), new AbortController().signal)) events.push(event);
  stopping.destroy();
  expect(events.at(-1)).toMatchObject({ type: 'done', finishReason: 'length', usage: { total_tokens: 32 } });
});

describe('the window', () => {
  const roles = fc.array(fc.constantFrom('system', 'user', 'assistant', 'tool'), { maxLength: 12 });

  test('turns are whole, in order, and leave system messages out', () => {
    fc.assert(
      fc.property(roles, (list) => {
        const turns = turnsOf(list.map((role) => ({ role })));
        expect(turns.flat()).toEqual([...list.keys()].filter((i) => list[i] !== 'system'));
        for (const [nth, turn] of turns.entries()) {
          expect(turn.length).toBeGreaterThan(0);
          if (nth > 0) expect(list[turn[0]!]).toBe('user');
          for (const index of turn.slice(1)) expect(list[index]).not.toBe('user');
        }
      }),
    );
  });

  test('it drops exactly as many turns as one-by-one search would, and none in vain', async () => {
    const { signal } = new AbortController();
    const turn = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 7 });
    const check = async (words: number[], wanted: number) => {
      const messages = words.map((count) => ({ role: 'user', content: 'word '.repeat(count) }));
      const lengths: number[] = [];
      for (let dropped = 0; dropped < messages.length; dropped++) lengths.push((await promptIds(messages.slice(dropped))).length);
      const window = await PromptWindow.open(text, { messages, templateKwargs }, signal);
      const most = wanted + 10;
      const fits = lengths.findIndex((length, dropped) => dropped > 0 && length <= wanted);
      const fallback = lengths.length > 1 && lengths.at(-1)! <= most ? lengths.length - 1 : 0;
      const expected = fits > 0 ? fits : fallback;
      expect(await window.shrink({ wanted, most }, signal)).toBe(expected > 0);
      expect(window.droppedMessages).toBe(expected);
      expect(window.tokens.length).toBe(lengths[expected]);
    };
    await fc.assert(fc.asyncProperty(turn, fc.integer({ min: 5, max: 150 }), check), { numRuns: 40 });
  });
});

/** Totals of the prefills that the events tell of; each must rise to its total. */
function prefills(events: readonly GenerateEvent[]): number[] {
  const totals: number[] = [];
  let done = 0;
  for (const event of events) {
    if (event.type !== 'prefill' || event.done === 0) continue; // 0: the prompt fits
    expect(event.done).toBeGreaterThan(done);
    done = event.done;
    if (done < event.total) continue;
    totals.push(event.total);
    done = 0;
  }
  expect(done, 'the last prefill came to its end').toBe(0);
  return totals;
}

/** A failed comparison of digests is readable, one of megabytes takes minutes to print. */
const digest = ({ length, layers }: SavedSequence) => ({
  length,
  layers: layers.map(({ a, b }) => createHash('sha256').update(a).update(b).digest('hex')),
});

async function greedy({ session }: EngineCore, prompt: readonly number[], count: number): Promise<number[]> {
  const { sequence, runner, config } = session;
  sequence.reset();
  const ids: number[] = [];
  let tokens = Uint32Array.from(prompt);
  while (ids.length < count) {
    const row = new LogitRow(config.vocabSize);
    await runner.step([{ sequence, tokens, logits: 'last', onLogits: row.add }]);
    ids.push(argmax(row.values));
    tokens = Uint32Array.of(ids.at(-1)!);
  }
  return ids;
}
