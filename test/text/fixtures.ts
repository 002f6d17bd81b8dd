import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';

const root = new URL('../fixtures/text/', import.meta.url);

export function fixture(path: string): string {
  const bytes = readFileSync(new URL(path, root));
  return (path.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8');
}

export function fixtureJson<T>(path: string): T {
  return JSON.parse(fixture(path)) as T;
}

/** The bundled story model's tokenizer: 4,096 tokens, loads in milliseconds. */
export function storyTokenizer(): { tokenizerJson: string; tokenizerConfig: string; chatTemplate: string } {
  const read = (name: string) => readFileSync(new URL(`../../demo/model/${name}`, import.meta.url), 'utf8');
  return {
    tokenizerJson: read('tokenizer.json'),
    tokenizerConfig: read('tokenizer_config.json'),
    chatTemplate: read('chat_template.jinja'),
  };
}
