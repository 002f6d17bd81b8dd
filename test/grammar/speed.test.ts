/**
 * CPU time of a constrained reply with Qwen3's 151,669 tokens, for its beginning and for each token: the mask, its way from the text
 * worker's thread, applying it to the logits, acceptance and its way there and back, draws that are refused included. Of all threads;
 * and CPU time, not wall time, because the machine that tests may be busy.
 */
import { expect, test } from 'vitest';
import { Random } from '../../src/engine/random';
import { adjust, type SamplingParams, sample, TokenHistory } from '../../src/engine/sampling';
import { schemaGrammar } from '../../src/grammar/schema';
import { spawnTextWorker } from '../../src/node/text_worker_spawn';
import { type ConstraintRequest, ConstraintService } from '../../src/text/constraint_service';
import { createTextHost } from '../../src/text/text_host';
import { Tokenizer } from '../../src/text/tokenizer';
import { bundleTextWorker } from '../text/bundled_worker';
import { randomFrom } from './random';
import type { Schema } from './random_schemas';
import { RandomModel } from './reply';
import { schemasOfOthers } from './schemas_of_others';
import { qwen3, qwen3Json } from './vocabularies';

const [vocab, stopIds] = [151_936, [151_645, 151_643]];
const isLong = process.env.SLUICE_LONG === '1';
const params: SamplingParams = {
  temperature: 1,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
};

/** Of the whole process, garbage collection in other threads included. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** Of the library, which a thread loads once, and the vocabulary. */
let preparedMs = 0;

test('the first grammar', { timeout: 120_000 }, async () => {
  const service = new ConstraintService(new Tokenizer(qwen3Json()), () => 'json');
  const request: ConstraintRequest = { constraint: { kind: 'json_object' }, vocab, stopIds };
  const began = cpuMs();
  await service.prepare(request);
  preparedMs = cpuMs() - began;
  await service.open(1, request, []);
  const ms = cpuMs() - began;
  console.log(`the library and the vocabulary ${preparedMs.toFixed(0)} ms, with a grammar ${ms.toFixed(0)} ms (CPU)`);
  expect((await service.mask(1, 100)).length).toBe(Math.ceil(151_669 / 32));
  expect(ms).toBeLessThan(isLong ? 500 : 1000); // 380 where nothing else runs
});

/**
 * In a long run so many that the engine's compiling of JavaScript, some 300 ms of CPU time in the first thousand tokens and counted like
 * all else, is no more of a token than in a conversation.
 */
const schemas: Schema[] = [
  { type: 'object' },
  ...(isLong
    ? Object.values(schemasOfOthers)
    : ['invoice', 'extracted people', 'a user interface tree'].map((name) => schemasOfOthers[name]!)),
];

/** A pattern with counted lengths, 884 rules: 537 ms of CPU time, half of it other threads' compiling; 405 ms on the clock. */
const slowest = schemasOfOthers['a package manifest, a part'];

// After the one above, which loads the library; its time is added.
if (isLong)
  test.each(schemas.flatMap((schema, i) => (schema === slowest ? [] : [{ i: i + 1, schema }])))(
    'the first grammar is schema $i',
    { timeout: 120_000 },
    async ({ schema }) => {
      const service = new ConstraintService(new Tokenizer(qwen3Json()), () => 'json');
      const request: ConstraintRequest = { constraint: { kind: 'json_schema', schema }, vocab, stopIds };
      await service.prepare(request);
      const began = cpuMs();
      await service.open(1, request, []);
      const ms = preparedMs + cpuMs() - began;
      console.log(`the library, the vocabulary and a grammar ${ms.toFixed(0)} ms (CPU)`);
      expect(preparedMs).toBeGreaterThan(0);
      expect(ms).toBeLessThan(500);
    },
  );

/** Peaked, as a model's are: a few tokens far above the others. */
function randomLogits(logits: Float32Array, random: () => number): void {
  for (let i = 0; i < logits.length; i++) logits[i] = random() * 4;
  for (let i = 0; i < 500; i++) logits[Math.floor(random() * logits.length)]! += 12;
}

/** CPU milliseconds by token -> median, 99th percentile and most. */
function percentiles(tokenMs: number[]): { median: number; p99: number; most: number } {
  tokenMs.sort((a, b) => a - b);
  const at = (part: number) => tokenMs[Math.floor((tokenMs.length - 1) * part)]!;
  return { median: at(0.5), p99: at(0.99), most: at(1) };
}

const round = (ms: number) => ms.toFixed(2);

test('mask, accept and apply, in this thread', { timeout: 600_000 }, async () => {
  const vocabulary = qwen3();
  let began = cpuMs();
  const model = await RandomModel.create(vocabulary);
  const prepareMs = cpuMs() - began;
  const logits = new Float32Array(vocabulary.size);
  const random = randomFrom(3);
  const draws = new Random(1);
  const history = new TokenHistory([]);
  const compileMs: number[] = [];
  const tokenMs: number[] = [];
  for (const schema of schemas) {
    began = cpuMs();
    const { run, free } = await model.open(schemaGrammar(schema));
    compileMs.push(cpuMs() - began);
    for (let left = isLong ? 400 : 20, done = false; left > 0 && !done; left--) {
      randomLogits(logits, random);
      let spent = 0;
      for (let accepted = false; !accepted; ) {
        began = cpuMs();
        const mask = await run.mask(left);
        adjust(logits, history, params, mask);
        spent += cpuMs() - began;
        const token = sample(logits, vocabulary.size, history, params, draws, mask);
        began = cpuMs();
        ({ accepted, done } = run.accept(token, left - 1));
        spent += cpuMs() - began;
      }
      tokenMs.push(spent);
    }
    free();
  }
  const { median, p99, most } = percentiles(tokenMs);
  console.log(
    `${tokenMs.length} tokens: median ${round(median)} ms, p99 ${round(p99)} ms, most ${round(most)} ms; ` +
      `preparing ${round(prepareMs)} ms, grammars ${compileMs.map(round).join(', ')} ms (CPU)`,
  );
  expect(median).toBeLessThan(isLong ? 0.5 : 3); // 0.42 where fifteen others wait for two cores
  expect(p99).toBeLessThan(isLong ? 3 : 30); // a short run warms up within its 99 per cent
});

test('the same through the text worker', { timeout: 600_000 }, async () => {
  const script = await bundleTextWorker();
  const text = createTextHost({ spawn: () => spawnTextWorker(script.url), timeoutMs: 30_000 }); // a busy machine compiles slowly
  try {
    await text.load({ tokenizerJson: qwen3Json() });
    const logits = new Float32Array(vocab);
    const random = randomFrom(3);
    const draws = new Random(1);
    const greedy = { ...params, temperature: 0 }; // of random logits; drawing makes garbage, whose collection is not counted apart
    const history = new TokenHistory([]);
    const signal = new AbortController().signal;
    const tokenMs: number[] = [];
    for (const schema of schemas) {
      const constraint = await text.openConstraint({ constraint: { kind: 'json_schema', schema }, vocab, stopIds });
      for (let left = isLong ? 400 : 20, done = false; left > 0 && !done; left--) {
        randomLogits(logits, random);
        let spent = 0;
        for (let accepted = false; !accepted; ) {
          let began = cpuMs();
          const mask = await constraint.mask(left, { signal });
          adjust(logits, history, params, mask);
          spent += cpuMs() - began;
          const token = sample(logits, vocab, history, greedy, draws, mask);
          began = cpuMs();
          ({ accepted, done } = await constraint.accept(token, left - 1, { signal }));
          if (accepted && !done && left > 1) await constraint.mask(left - 1, { signal }); // under way; the next token finds it
          spent += cpuMs() - began;
        }
        tokenMs.push(spent);
      }
      constraint.close();
    }
    const { median, p99, most } = percentiles(tokenMs);
    console.log(`${tokenMs.length} tokens: median ${round(median)} ms, p99 ${round(p99)} ms, most ${round(most)} ms (CPU)`);
    expect(median).toBeLessThan(isLong ? 0.5 : 3);
    if (isLong) expect(p99).toBeLessThan(3); // among few tokens are those for which the vocabulary is sorted, once
  } finally {
    text.dispose();
    script.remove();
  }
});
