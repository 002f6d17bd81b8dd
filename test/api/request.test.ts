import { describe, expect, test } from 'vitest';
import { toGenerateRequest } from '../../src/api/request';
import type { GenerationRequest } from '../../src/protocol/chat';

const prompt = { text: 'x' };
const make = (request: object) => toGenerateRequest(request as GenerationRequest, prompt, ['prompt']);

test('known fields arrive', () => {
  expect(
    make({
      temperature: 0,
      top_p: 0.5,
      top_k: 3,
      min_p: 0.1,
      repetition_penalty: 1.1,
      presence_penalty: -1,
      frequency_penalty: 2,
      seed: 7,
      max_tokens: 5,
      stop: 'a',
      prompt: 'x',
      stream: true,
    }),
  ).toEqual({
    prompt,
    sampling: {
      temperature: 0,
      top_p: 0.5,
      top_k: 3,
      min_p: 0.1,
      repetition_penalty: 1.1,
      presence_penalty: -1,
      frequency_penalty: 2,
      seed: 7,
    },
    maxTokens: 5,
    stop: ['a'],
  });
});

test('unset and null fields stay unset, so that the checkpoint decides', () => {
  expect(make({ temperature: null, seed: undefined })).toEqual({ prompt, sampling: {}, maxTokens: undefined, stop: [] });
});

test('max_completion_tokens goes before max_tokens', () =>
  expect(make({ max_tokens: 5, max_completion_tokens: 9 }).maxTokens).toBe(9));

describe('a wrong field is an error that names it', () => {
  test.each([
    ['temperature', -0.1],
    ['temperature', 2.1],
    ['temperature', Number.NaN],
    ['temperature', '1'],
    ['top_p', 0],
    ['top_p', 1.5],
    ['top_k', 1.5],
    ['min_p', -1],
    ['repetition_penalty', 0],
    ['presence_penalty', 3],
    ['frequency_penalty', -3],
    ['seed', 0.5],
    ['max_tokens', 0],
    ['stop', ['']],
    ['stop', [1]],
    ['stop', Array.from({ length: 17 }, () => 'a')],
    ['tools', []],
    ['n', 2],
    ['logprobs', true],
  ])('%s: %j', (field, value) => {
    expect(() => make({ [field]: value })).toThrow(
      expect.objectContaining({ code: 'invalid-request', message: expect.stringContaining(`'${field}'`) }),
    );
  });
});
