/** Constrained replies of the bundled model, whole path: text worker, xgrammar, prefill, decode. The model is tiny and talks of foxes. */
import Ajv2020 from 'ajv/dist/2020';
import addFormats from 'ajv-formats';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EngineCore } from '../../src/engine/engine_core';
import { EngineError } from '../../src/errors';
import type { Gpu } from '../../src/gpu/device';
import { Automaton, Position } from '../../src/grammar/automaton';
import { checkSchema, schemaGrammar } from '../../src/grammar/schema';
import { TokenSpeller } from '../../src/grammar/vocabulary';
import { openDirectory } from '../../src/node/file_source';
import { openNodeGpu } from '../../src/node/open_gpu';
import { spawnTextWorker } from '../../src/node/text_worker_spawn';
import type { Constraint } from '../../src/protocol/chat';
import type { GenerateEvent, GenerateRequest } from '../../src/protocol/engine';
import type { ModelFiles } from '../../src/storage/byte_source';
import { openModelSource } from '../../src/stream/model_source';
import { createTextHost, type TextConstraint, type TextHost } from '../../src/text/text_host';
import { randomFrom } from '../grammar/random';
import { randomSchema, type Schema } from '../grammar/random_schemas';
import { schemasOfOthers } from '../grammar/schemas_of_others';
import { story } from '../grammar/vocabularies';
import { bundleTextWorker } from '../text/bundled_worker';

const isLong = process.env.SLUICE_LONG === '1';
const temperatures = [0, 0.3, 0.7, 1, 1.5];

let gpu: Gpu;
let files: ModelFiles;
let text: TextHost;
let core: EngineCore;
let script: { url: URL; remove(): void };

beforeAll(async () => {
  script = await bundleTextWorker();
  gpu = await openNodeGpu();
  files = await openDirectory(new URL('../../demo/model', import.meta.url).pathname);
  // In hours of replies a busy machine once takes more than the limit, which is of wall time, to compile a grammar.
  text = createTextHost({ spawn: () => spawnTextWorker(script.url), ...(isLong ? { timeoutMs: 30_000 } : {}) });
  core = await EngineCore.load({ gpu, model: await openModelSource(files), text }, { contextTokens: 300 });
});

afterAll(() => {
  core.destroy();
  text.dispose();
  files.close();
  script.remove();
});

type Reply = { text: string; finish: string; tokens: number };

async function ask(
  constraint: Constraint | undefined,
  more: Partial<GenerateRequest> = {},
  onEvent?: (event: GenerateEvent) => void,
): Promise<Reply> {
  const request: GenerateRequest = {
    prompt: { messages: [{ role: 'user', content: 'Tell me about a fox.' }], templateKwargs: { enable_thinking: false } },
    sampling: { temperature: 0 },
    maxTokens: 48,
    stop: [],
    ...(constraint ? { constraint } : {}),
    ...more,
  };
  let reply: Reply = { text: '', finish: '', tokens: 0 };
  for await (const event of core.generate(request, new AbortController().signal) as AsyncIterable<GenerateEvent>) {
    onEvent?.(event);
    if (event.type === 'text') reply.text += event.text;
    if (event.type === 'done') reply = { ...reply, finish: event.finishReason, tokens: event.usage.completion_tokens };
  }
  return reply;
}

const schemaOf = (schema: unknown): Constraint => ({ kind: 'json_schema', schema });

type Counts = { whole: number; short: number; refused: number; tokens: number };

/** One reply, which is whole and valid, or shown to be too short for any that is. */
async function check(schema: Schema, temperature: number, seed: number, maxTokens: number, counts: Counts): Promise<void> {
  const { text: said, finish, tokens } = await ask(schemaOf(schema), { sampling: { temperature, seed }, maxTokens });
  const context = `${JSON.stringify(schema)}\n${said}`;
  counts.tokens += tokens;
  if (finish === 'length' && !parses(said)) {
    expect(leastTokens(schema), context).toBeGreaterThan(maxTokens);
    expect(tokens).toBe(maxTokens);
    counts.short++;
  } else {
    const ajv = new Ajv2020({ strict: false, logger: false });
    addFormats(ajv);
    expect(ajv.validate(schema, JSON.parse(said)), context).toBe(true);
    counts.whole++;
  }
}

const told = (temperature: number, { whole, short, refused, tokens }: Counts) =>
  console.log(`temperature ${temperature}: ${whole} whole, ${short} cannot fit, ${refused} refused; ${tokens} tokens`);

/**
 * Room for replies as long as the model likes at first; then for a little more than the shortest one, because that is where closings
 * are forced and a token of this model takes 60 ms; now and then too little for any.
 */
function roomFor(schema: Schema, i: number): number {
  if (i < 20) return 60;
  return i % 10 === 9 ? Math.max(1, leastTokens(schema) - 1) : leastTokens(schema) + 10;
}

test.each(temperatures)('random schemas at temperature %d', { timeout: 3_600_000 }, async (temperature) => {
  const counts: Counts = { whole: 0, short: 0, refused: 0, tokens: 0 };
  const count = isLong ? 200 : 2;
  for (let i = 0; i < count; i++) {
    const seed = 1000 * temperature + i;
    const schema = randomSchema(randomFrom(isLong ? i : seed), 2); // each at every temperature, or other ones at each
    if (isAccepted(schema)) await check(schema, temperature, seed, roomFor(schema, i), counts);
    else counts.refused++;
  }
  told(temperature, counts);
  expect(counts.short + counts.refused).toBeLessThan(count / 2);
});

test.each(temperatures)('schemas of others at temperature %d', { timeout: 3_600_000 }, async (temperature) => {
  const counts: Counts = { whole: 0, short: 0, refused: 0, tokens: 0 };
  const chosen = isLong ? Object.values(schemasOfOthers) : [schemasOfOthers['a score']!, schemasOfOthers['a json patch']!];
  for (const [i, schema] of chosen.entries()) {
    await check(schema, temperature, 1000 * temperature + i, leastTokens(schema) + 10, counts);
  }
  told(temperature, counts);
  expect(counts.whole).toBe(chosen.length);
});

/** Now and then no value satisfies a random schema. */
function isAccepted(schema: Schema): boolean {
  try {
    checkSchema(schema);
    return true;
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    return false;
  }
}

/** Of the shortest reply. */
function leastTokens(schema: Schema): number {
  speller ??= new TokenSpeller(story());
  return speller.spell(Position.start(new Automaton(schemaGrammar(schema))).closing())!.length;
}

let speller: TokenSpeller | undefined;

function parses(said: string): boolean {
  try {
    JSON.parse(said);
    return true;
  } catch {
    return false;
  }
}

test('json_object: any object, whole within its limit', async () => {
  for (const maxTokens of [1, 2, 3, 8, 40]) {
    const { text: said } = await ask({ kind: 'json_object' }, { maxTokens, sampling: { temperature: 1, seed: maxTokens } });
    if (maxTokens >= 2) expect(JSON.parse(said)).toBeTypeOf('object');
  }
});

describe('the closing is forced in time', () => {
  // Nothing that the model says holds a brace: only what is forced ends this.
  const unending: Constraint = { kind: 'grammar', grammar: 'root ::= "{" [a-z ]* "}"' };

  test('by what is left of the context, where nothing else bounds the reply', async () => {
    const content = `Tell me about a fox.${' fox'.repeat(250)}`;
    const prompt = { messages: [{ role: 'user', content }], templateKwargs: { enable_thinking: false } };
    let total = 0;
    const said = await ask(unending, { prompt, maxTokens: undefined }, (event) => {
      if (event.type === 'done') total = event.usage.total_tokens;
    });
    expect(said).toMatchObject({ text: expect.stringMatching(/^\{[a-z ]+\}$/), finish: 'stop' });
    expect(total).toBe(300);
  });

  test('thinking without a budget leaves the answer its room', async () => {
    const begun = { role: 'assistant', content: '', reasoning_content: 'The animal' };
    const messages = [{ role: 'user', content: 'Which animal is it?' }, begun];
    const prompt = { messages, templateKwargs: { enable_thinking: true }, continueFinal: true };
    let thought = '';
    const said = await ask(schemaOf({ enum: ['fox', 'owl'] }), { prompt, maxTokens: 24 }, (event) => {
      if (event.type === 'reasoning') thought += event.text;
    });
    expect(said).toMatchObject({ text: expect.stringMatching(/^"(fox|owl)"$/), finish: 'stop' });
    expect(thought.length).toBeGreaterThan(5);
  });
});

test('the first mask is begun before the prompt is read', async () => {
  const order: string[] = [];
  const open = text.openConstraint;
  text.openConstraint = async (...given) => {
    const constraint = await open.apply(text, given);
    const mask = (...asked: Parameters<TextConstraint['mask']>) => {
      order.push(`mask for ${asked[0]}`);
      return constraint.mask(...asked);
    };
    return { ...constraint, mask };
  };
  const prompt: GenerateRequest['prompt'] = {
    messages: [{ role: 'user', content: 'Tell me about a hedgehog and its spines.' }],
    templateKwargs: { enable_thinking: false },
  };
  const said = await ask({ kind: 'json_object' }, { prompt, maxTokens: 9 }, (event) => {
    if (event.type === 'prefill') order.push(event.done < event.total ? 'reading' : 'read');
  }).finally(() => {
    text.openConstraint = open;
  });
  expect(JSON.parse(said.text)).toBeTypeOf('object');
  expect(order.slice(0, 2)).toEqual(['mask for 9', 'reading']);
  expect(order).toContain('read');
  expect(order.filter((what) => what === 'mask for 9')).toHaveLength(1);
});

test('a grammar', async () => {
  const grammar = 'root ::= ("yes" | "no") [.!]{1,2}';
  const { text: said, finish } = await ask({ kind: 'grammar', grammar });
  expect(said).toMatch(/^(yes|no)[.!]{1,2}$/);
  expect(finish).toBe('stop');
});

describe('what goes wrong is told and forgotten', () => {
  test.each([
    ['a bad grammar', { kind: 'grammar', grammar: 'root ::= "a' } as Constraint, 'invalid-request', /line 1, column 10/],
    ['a keyword', schemaOf({ properties: { a: { not: {} } } }), 'unsupported-schema', /"#\/properties\/a\/not"/],
    ['a reference', schemaOf({ $ref: '#/nowhere' }), 'invalid-request', /"#\/\$ref"/],
    ['no value', schemaOf({ type: 'integer', minimum: 3, maximum: 2 }), 'invalid-request', /no finite value/],
  ])('%s', async (_, constraint, code, message) => {
    await expect(ask(constraint)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect(JSON.parse((await ask(schemaOf({ enum: ['fox', 'owl'] }))).text)).toMatch(/fox|owl/);
  });

  test('an unconstrained request is as before', async () => {
    const before = await ask(undefined);
    await ask({ kind: 'json_object' });
    expect(await ask(undefined)).toEqual(before);
  });
});
