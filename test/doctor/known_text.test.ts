/** The known replies are the reference implementation's greedy tokens, as text. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { knownReplies } from '../../src/doctor/known_text';
import { parseSafetensorsHeader, readHeaderLength } from '../../src/format/safetensors';
import { Tokenizer } from '../../src/text/tokenizer';

const folder = join(import.meta.dirname, '../../demo/model');

test('every known reply is a prompt of expected.safetensors with what follows it', () => {
  const tokenizer = new Tokenizer(readFileSync(join(folder, 'tokenizer.json'), 'utf8'));
  const texts = expectedTexts(tokenizer);
  for (const { prompt, reply } of knownReplies) expect(texts).toContainEqual([`user\n${prompt}\nassistant\n`, reply]); // special tokens are no text
});

function expectedTexts(tokenizer: Tokenizer): [string, string][] {
  const bytes = new Uint8Array(readFileSync(join(folder, 'expected.safetensors')));
  const length = readHeaderLength(bytes.subarray(0, 8), bytes.length);
  const infos = parseSafetensorsHeader(bytes.subarray(8, 8 + length), 'expected.safetensors', bytes.length);
  const text = (name: string) => {
    const { byteOffset, byteLength } = infos.find((info) => info.name === name)!;
    return tokenizer.decode([...new Int32Array(bytes.slice(byteOffset, byteOffset + byteLength).buffer)]);
  };
  return [0, 1, 2, 3].map((i) => [text(`prompt_${i}`), text(`greedy_${i}`)]);
}
