/** Replies by chance, token by token from real vocabularies: each that ends must parse and validate by another's validator. */
import Ajv2020 from 'ajv/dist/2020';
import addFormats from 'ajv-formats';
import { beforeAll, describe, expect, test } from 'vitest';
import { EngineError } from '../../src/errors';
import { schemaGrammar } from '../../src/grammar/schema';
import { randomFrom } from './random';
import { randomSchema, type Schema } from './random_schemas';
import { RandomModel, uniformly } from './reply';
import { schemasOfOthers } from './schemas_of_others';
import { qwen3, story } from './vocabularies';

const isLong = process.env.SLUICE_LONG === '1';
const limits = [10, 60, 300];

/** Returns how many replies were whole and how many could not fit. */
async function check(model: RandomModel, schema: Schema, random: () => number): Promise<{ whole: number; short: number }> {
  const grammar = schemaGrammar(schema);
  const ajv = new Ajv2020({ strict: false, logger: false });
  addFormats(ajv);
  const validate = ajv.compile(schema);
  const counts = { whole: 0, short: 0 };
  for (const maxTokens of limits) {
    const reply = await model.reply(grammar, maxTokens, random, uniformly);
    const context = `${JSON.stringify(schema)}\n${reply.text}`;
    if (reply.leastTokens > maxTokens) {
      expect(reply.tokens, context).toBe(maxTokens);
      counts.short++;
    } else {
      expect(validate(JSON.parse(reply.text)), `${context}\n${JSON.stringify(validate.errors)}`).toBe(true);
      counts.whole++;
    }
  }
  return counts;
}

describe.each([
  { name: 'story', vocabulary: story, count: isLong ? 3000 : 60, from: 1 },
  { name: 'Qwen3', vocabulary: qwen3, count: isLong ? 500 : 4, from: 100_001 },
])('$name vocabulary', ({ vocabulary, count, from }) => {
  let model: RandomModel;
  beforeAll(async () => {
    model = await RandomModel.create(vocabulary());
  });

  test(`${count} random schemas`, { timeout: 3_600_000 }, async () => {
    let [accepted, whole] = [0, 0];
    for (let seed = from; seed < from + count; seed++) {
      const random = randomFrom(seed);
      const schema = randomSchema(random);
      try {
        whole += (await check(model, schema, random)).whole;
        accepted++;
      } catch (error) {
        if (!(error instanceof EngineError) || error.code === 'internal') throw error; // a refusal, before anything ran
      }
    }
    expect(accepted).toBeGreaterThan(count * 0.9);
    expect(whole).toBeGreaterThan(accepted * limits.length * 0.8);
  });

  test.each(Object.entries(schemasOfOthers))('others: %s', { timeout: 120_000 }, async (name, schema) => {
    for (let i = 0; i < (isLong ? 40 : 1); i++) {
      const { whole } = await check(model, schema, randomFrom(name.length * 1000 + i));
      expect(whole).toBeGreaterThan(0);
    }
  });
});
