/** A request that breaks off after any of its events goes on from its journal: what was delivered and what comes then are the whole, once. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Generation, generate } from '../../src/engine/generate';
import { copyJournal, countShown, type Journal, newJournal } from '../../src/engine/journal';
import { ModelSession } from '../../src/engine/model_session';
import { PrefixCache } from '../../src/engine/prefix_cache';
import { openDirectory } from '../../src/node/file_source';
import { openNodeGpu } from '../../src/node/open_gpu';
import { spawnTextWorker } from '../../src/node/text_worker_spawn';
import type { GenerateEvent, GenerateRequest } from '../../src/protocol/engine';
import type { ModelFiles } from '../../src/storage/byte_source';
import { openCheckpoint } from '../../src/stream/open_checkpoint';
import { createTextHost, type TextHost } from '../../src/text/text_host';
import { bundleTextWorker } from '../text/bundled_worker';

let script: { url: URL; remove(): void };
let files: ModelFiles;
let text: TextHost;
let session: ModelSession;
let generation: Generation;

async function readText(from: ModelFiles, name: string): Promise<string> {
  const source = await from.open(name);
  const bytes = new Uint8Array(source.size);
  await source.read(0, bytes);
  source.close();
  return new TextDecoder().decode(bytes);
}

beforeAll(async () => {
  script = await bundleTextWorker();
  files = await openDirectory(new URL('../../demo/model', import.meta.url).pathname);
  const templates = await openDirectory(new URL('../fixtures/text/templates', import.meta.url).pathname);
  text = createTextHost({ spawn: () => spawnTextWorker(script.url) });
  const info = await text.load({
    tokenizerJson: await readText(files, 'tokenizer.json'),
    chatTemplate: await readText(templates, 'Qwen3.5-0.8B.official.jinja'),
  });
  const options = { contextTokens: 256, chunkTokens: 32, kv: 'f32', f16: false, gpuLoop: true } as const;
  session = await ModelSession.load(await openNodeGpu(), await openCheckpoint(files), options);
  const stopIds = new Set([info.specialTokens['<|im_end|>']!]);
  const cache = new PrefixCache(session, { copyBytes: 0 });
  generation = { session, cache, text, defaults: { eosTokenIds: [] }, vocab: info.vocabSize, stopIds };
});
afterAll(() => {
  session.destroy();
  text.dispose();
  files.close();
  script.remove();
});

const said = (events: readonly GenerateEvent[]) => {
  const of = { text: [''], reasoning: [''], logprobs: [[]] as string[][], ends: [] as string[], usage: {} };
  for (const event of events) {
    if (event.type === 'text' || event.type === 'reasoning') of[event.type][of.text.length - 1] += event.text;
    if (event.type === 'text') of.logprobs.at(-1)!.push(...(event.logprobs ?? []).map(({ token }) => token));
    if (event.type !== 'choice_end' && event.type !== 'done') continue;
    of.ends.push(event.finishReason);
    if (event.type === 'done') {
      const { prompt_tokens, completion_tokens, completion_tokens_details } = event.usage;
      of.usage = { prompt_tokens, completion_tokens, completion_tokens_details };
    } else {
      of.text.push('');
      of.reasoning.push('');
      of.logprobs.push([]);
    }
  }
  return of;
};

type Moment = { journal: Journal; events: GenerateEvent[] };

/** The whole reply, and where it stood after each event that said something. */
async function whole(request: GenerateRequest): Promise<{ events: GenerateEvent[]; moments: Moment[] }> {
  const journal = newJournal();
  const shown = { characters: 0, logprobs: 0 };
  const events: GenerateEvent[] = [];
  const moments: Moment[] = [];
  generation.cache!.forget();
  for await (const event of generate(generation, request, new AbortController().signal, journal)) {
    events.push(event);
    countShown(shown, event);
    const says = event.type === 'text' || event.type === 'reasoning';
    if (says) moments.push({ journal: { ...copyJournal(journal), shown: { ...shown } }, events: [...events] });
  }
  return { events, moments };
}

async function rest(request: GenerateRequest, journal: Journal): Promise<GenerateEvent[]> {
  const events: GenerateEvent[] = [];
  generation.cache!.forget();
  for await (const event of generate(generation, request, new AbortController().signal, copyJournal(journal))) events.push(event);
  return events;
}

const schema = {
  type: 'object',
  properties: { name: { type: 'string', maxLength: 12 }, legs: { type: 'integer' } },
  required: ['name', 'legs'],
  additionalProperties: false,
};
const form: GenerateRequest['constraint'] = { kind: 'json_schema', schema };

test.each<{ name: string; asked: Partial<GenerateRequest>; thinking?: boolean }>([
  { name: 'drawn by the GPU', asked: { maxTokens: 12 } },
  { name: 'two choices', asked: { maxTokens: 6, choices: 2 } },
  { name: 'log probabilities', asked: { maxTokens: 8, topLogprobs: 2 } },
  { name: 'two choices of one form', asked: { maxTokens: 24, choices: 2, constraint: form } },
  { name: 'thinking that is closed', thinking: true, asked: { maxTokens: 14, reasoningBudgetTokens: 5 } },
  { name: 'a form after thinking', thinking: true, asked: { maxTokens: 32, reasoningBudgetTokens: 4, constraint: form } },
])('$name', { timeout: 300_000 }, async ({ asked, thinking = false }) => {
  const messages = [{ role: 'user', content: 'Tell a story about a fox.' }];
  const request: GenerateRequest = {
    prompt: { messages, templateKwargs: { enable_thinking: thinking } },
    ...{ sampling: { temperature: 0.7, seed: 6 }, maxTokens: 12, stop: [], ...asked },
  };
  const { events, moments } = await whole(request);
  const expected = said(events);
  expect(expected.text[0]!.length).toBeGreaterThan(0);
  if (thinking) expect(expected.reasoning[0]!.length).toBeGreaterThan(0);
  expect(moments.length).toBeGreaterThan(3);
  for (const share of [0, 0.4, 0.9]) {
    const { journal, events: before } = moments[Math.floor(moments.length * share)]!;
    const after = await rest(request, journal);
    expect(said([...before, ...after]), `broken off at ${share}`).toEqual(expected);
  }
});

test('a reply that goes on from its words is the one that it would have been', { timeout: 300_000 }, async () => {
  const messages = [{ role: 'user', content: 'Tell a story about a fox.' }];
  const sampling = { temperature: 0.7, seed: 6, presence_penalty: 0.5, frequency_penalty: 0.5 };
  const templateKwargs = { enable_thinking: false };
  const request: GenerateRequest = { prompt: { messages, templateKwargs }, sampling, maxTokens: 10, stop: [] };
  const { events, moments } = await whole(request);
  const { journal, events: before } = moments[4]!;
  const content = said(before).text[0]!;
  const begun = [...messages, { role: 'assistant', content }];
  const prompt = { messages: begun, templateKwargs, continueFinal: true };
  const after = await rest({ ...request, prompt, maxTokens: 10 - journal.pieces.flat().length }, newJournal());
  expect(content + said(after).text[0]).toBe(said(events).text[0]);
});
