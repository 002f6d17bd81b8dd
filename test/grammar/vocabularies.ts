/** Vocabularies of real tokenizers, as a constrained reply sees them. */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import type { Vocabulary } from '../../src/grammar/vocabulary';
import { byteLevelTokenBytes } from '../../src/text/token_bytes';

const root = new URL('../../', import.meta.url);

export type TestVocabulary = Vocabulary & {
  stopId: number /** 'whole': throws on bytes that are no UTF-8. */;
  textOf(ids: readonly number[], tail: 'whole' | 'cut'): string;
};

/** Qwen3's 151,669 entries. */
export const qwen3 = (): TestVocabulary =>
  fromTokenizer(gunzipSync(readFileSync(new URL('test/fixtures/text/qwen3/tokenizer.json.gz', root))).toString(), '<|im_end|>');

/** The bundled story model's. */
export const story = (): TestVocabulary =>
  fromTokenizer(readFileSync(new URL('demo/model/tokenizer.json', root), 'utf8'), '<|im_end|>');

function fromTokenizer(json: string, stop: string): TestVocabulary {
  const { model, added_tokens: added } = JSON.parse(json) as {
    model: { vocab: Record<string, number> };
    added_tokens: { id: number; content: string }[];
  };
  const bytes: (Uint8Array | undefined)[] = [];
  for (const [token, id] of Object.entries(model.vocab)) bytes[id] = byteLevelTokenBytes(token);
  for (const { id } of added) bytes[id] = undefined;
  const stopId = added.find(({ content }) => content === stop)!.id;
  return {
    size: Math.max(bytes.length, ...added.map(({ id }) => id + 1)),
    bytesOf: (id) => bytes[id],
    stopId,
    textOf: (ids, tail) =>
      new TextDecoder('utf-8', { fatal: tail === 'whole', ignoreBOM: true }).decode(
        Buffer.concat(ids.map((id) => bytes[id] ?? new Uint8Array())),
      ),
  };
}
