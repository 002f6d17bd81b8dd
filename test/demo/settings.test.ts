import { expect, test } from 'vitest';
import { differs, engineConfigOf, type NumberField, parseNumber, samplingOf, settingsFromJson } from '../../demo/settings';

test.each<{ field: NumberField; text: string; value: number | undefined; why: string }>([
  { field: 'temperature', text: '', value: undefined, why: 'empty means the default' },
  { field: 'temperature', text: '0', value: 0, why: 'greedy' },
  { field: 'topP', text: '1', value: 1, why: 'the upper end' },
  { field: 'seed', text: '4294967295', value: 4_294_967_295, why: 'the largest seed' },
])('$field "$text" is taken: $why', ({ field, text, value }) => {
  expect(parseNumber(field, text)).toEqual({ value });
});

test.each<{ field: NumberField; text: string; why: string }>([
  { field: 'temperature', text: '2.1', why: 'too high' },
  { field: 'temperature', text: 'warm', why: 'no number' },
  { field: 'topP', text: '0', why: 'the lower end is outside' },
  { field: 'topK', text: '1.5', why: 'not whole' },
  { field: 'maxTokens', text: '0', why: 'no reply at all' },
  { field: 'contextTokens', text: '1e99', why: 'beyond reason' },
])('$field "$text" is refused: $why', ({ field, text }) => {
  expect(parseNumber(field, text)).toHaveProperty('message');
});

test('only what is set enters the request and the engine configuration', () => {
  expect(samplingOf({ temperature: 0, seed: 7, contextTokens: 512 })).toEqual({ temperature: 0, seed: 7 });
  expect(engineConfigOf({ temperature: 0, contextTokens: 512, kv: 'f32' })).toEqual({ contextTokens: 512, kv: 'f32' });
  expect(engineConfigOf({ gpuBudget: 4e9, contextOverflow: 'error' })).toEqual({ gpuBudget: 4e9, contextOverflow: 'error' });
  expect(samplingOf({ thinking: true })).toEqual({ chat_template_kwargs: { enable_thinking: true } });
  expect(Object.keys(samplingOf({}))).toEqual([]);
});

test('another engine is whatever was asked of the loaded one and is not now', () => {
  expect(differs({ contextTokens: 512 }, { contextTokens: 512 })).toBe(false);
  expect(differs({ gpuBudget: 1e9 }, {})).toBe(true);
  expect(differs({}, { contextOverflow: 'error' })).toBe(true);
});

test.each([
  { stored: null, settings: {}, why: 'nothing stored' },
  { stored: '{broken', settings: {}, why: 'no JSON' },
  { stored: '[1]', settings: {}, why: 'another shape' },
  { stored: 'null', settings: {}, why: 'null' },
  {
    stored: '{"temperature":9,"topP":0.5,"kv":"f8","token":"secret"}',
    settings: { topP: 0.5 },
    why: 'values out of range and unknown names',
  },
  {
    stored: '{"gpuBudget":-1,"contextOverflow":"drop"}',
    settings: {},
    why: 'a budget that is none, and an unknown word',
  },
  {
    stored: '{"gpuBudget":4000000000,"contextOverflow":"truncate"}',
    settings: { gpuBudget: 4e9, contextOverflow: 'truncate' },
    why: 'what the memory panel keeps',
  },
  { stored: '{"thinking":"yes"}', settings: {}, why: 'a switch that is none' },
  {
    stored: '{"temperature":0.5,"kv":"f32","thinking":true}',
    settings: { temperature: 0.5, kv: 'f32', thinking: true },
    why: 'what the page writes',
  },
])('stored settings are read with care: $why', ({ stored, settings }) => {
  expect(settingsFromJson(stored)).toEqual(settings);
});
