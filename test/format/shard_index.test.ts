import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { EngineError } from '../../src/errors';
import { parseShardIndex } from '../../src/format/shard_index';
import { seeded } from './headers';

const realText = readFileSync(
  new URL('../fixtures/configs/Qwen3.8-27B-MTPLX-mlx-4bit-dynamic.index.json', import.meta.url),
  'utf8',
);
const naming = (file: unknown) => JSON.stringify({ metadata: { total_size: 1 }, weight_map: { 'a.weight': file } });

test('a real index, as JSON.parse reads it', () => {
  expect(Object.fromEntries(parseShardIndex(realText))).toEqual((JSON.parse(realText) as { weight_map: unknown }).weight_map);
});

test.each(['model.safetensors', 'model-00001-of-00004.safetensors', 'Вес 1.safetensors', '.hidden', 'a'.repeat(255)])(
  'accepts the name %j',
  (file) => {
    expect(parseShardIndex(naming(file)).get('a.weight')).toBe(file);
  },
);

test.each([
  '',
  '.',
  '..',
  '../x',
  'a/../b',
  'a/b',
  '/etc/passwd',
  'a\\b',
  '..\\x',
  'C:x',
  'C:\\x',
  'http://evil/x',
  'https:x',
  'file:///x',
  'data:,x',
  'a..b',
  'x..',
  'a\u0000b',
  'a\nb',
  'a\u007f',
  'a\u0085b',
  'a\u202eb',
  'a\u200bb',
  'a\u2028b',
  ' a',
  'a ',
  'a.',
  '\ud800',
  'a'.repeat(256),
  'ж'.repeat(128),
  5,
  null,
  {},
  ['a'],
  true,
])('refuses the name %j', (file) => {
  expect(() => parseShardIndex(naming(file))).toThrow(expect.objectContaining({ name: 'EngineError', code: 'format' }));
});

test.each([
  { text: '', says: /JSON/ },
  { text: '[]', says: /JSON/ },
  { text: '{}', says: /no weight_map/ },
  { text: '{"weight_map":{}}', says: /empty/ },
  { text: '{"weight_map":[]}', says: /JSON/ },
  { text: '{"weight_map":{"a":"f","a":"g"}}', says: /"a" twice/ },
  { text: '{"weight_map":{"a":"f"},"weight_map":{"a":"g"}}', says: /two weight_map/ },
  { text: `{"metadata":${'['.repeat(100)}`, says: /deeper/ },
  {
    text: JSON.stringify({ weight_map: Object.fromEntries(Array.from({ length: 1001 }, (_, i) => [`t${i}`, `f${i}`])) }),
    says: /more than 1000 files/,
  },
])('refuses $text', ({ text, says }) => {
  expect(() => parseShardIndex(text)).toThrow(expect.objectContaining({ code: 'format', message: expect.stringMatching(says) }));
});

test('__proto__ is only a name', () => {
  const index = parseShardIndex('{"weight_map":{"__proto__":"f","constructor":"g"}}');
  expect([...index]).toEqual([
    ['__proto__', 'f'],
    ['constructor', 'g'],
  ]);
});

test('2,000 mutations: EngineError or plain names', () => {
  const random = seeded(7);
  const base = JSON.stringify({
    metadata: { total_size: 12 },
    weight_map: { 'a.weight': 'm-1.safetensors', 'b.weight': 'm-2.safetensors' },
  });
  const splices = ['..', '/', '\\', '\\u002e\\u002e\\u002f', ':', '\\u0000', '"', '{', '}', 'a'.repeat(300)];
  let accepted = 0;
  for (let i = 0; i < 2000; i++) {
    let text = base;
    for (let n = 1 + random(3); n > 0; n--) {
      const at = random(text.length + 1);
      text = random(2)
        ? text.slice(0, at) + splices[random(splices.length)] + text.slice(at)
        : text.slice(0, at) + text.slice(at + random(5));
    }
    try {
      for (const file of parseShardIndex(text).values()) expect(file).toMatch(/^(?!.*\.\.)[^/\\:\p{Cc}]{1,255}$/u);
      accepted++;
    } catch (error) {
      if (!(error instanceof EngineError)) throw error;
    }
  }
  expect(accepted).toBeGreaterThan(50);
});
