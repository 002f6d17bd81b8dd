/** Vocabularies of real tokenizers, as a constrained reply sees them. */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { bytesOfChars } from '../../src/grammar/byte_chars';
import type { Vocabulary } from '../../src/grammar/vocabulary';
import { byteLevelTokenChars } from '../../src/text/token_bytes';

const root = new URL('../../', import.meta.url);

export type TestVocabulary = Vocabulary & {
  stopId: number /** 'whole': throws on bytes that are no UTF-8. */;
  textOf(ids: readonly number[], tail: 'whole' | 'cut'): string;
};

export const qwen3Json = (): string =>
  gunzipSync(readFileSync(new URL('test/fixtures/text/qwen3/tokenizer.json.gz', root))).toString();

/** Qwen3's 151,669 entries. */
export const qwen3 = (): TestVocabulary => fromTokenizer(qwen3Json(), '<|im_end|>');

/** The bundled story model's. */
export const story = (): TestVocabulary =>
  fromTokenizer(readFileSync(new URL('demo/model/tokenizer.json', root), 'utf8'), '<|im_end|>');

function fromTokenizer(json: string, stop: string): TestVocabulary {
  const { model, added_tokens: added } = JSON.parse(json) as {
    model: { vocab: Record<string, number> };
    added_tokens: { id: number; content: string }[];
  };
  const chars: (string | undefined)[] = [];
  for (const [token, id] of Object.entries(model.vocab)) chars[id] = byteLevelTokenChars(token);
  for (const { id } of added) chars[id] = undefined;
  const stopId = added.find(({ content }) => content === stop)!.id;
  return {
    size: Math.max(chars.length, ...added.map(({ id }) => id + 1)),
    charsOf: (id) => chars[id],
    stopId,
    textOf: (ids, tail) =>
      new TextDecoder('utf-8', { fatal: tail === 'whole', ignoreBOM: true }).decode(
        bytesOfChars(ids.map((id) => chars[id] ?? '').join('')),
      ),
  };
}
