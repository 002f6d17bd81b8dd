/** What is handed out has the licence notices of all that it contains. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { NOTICES } from '../../scripts/notices.mjs';
import { repository } from './servers';

const ENGINE = ['@huggingface/jinja', '@huggingface/tokenizers', '@mlc-ai/web-xgrammar', 'comlink', 'hash-wasm'];
const PAGE = ['idb-keyval', 'markdown-it', 'linkify-it', 'dompurify', 'lowlight', 'highlight.js', 'temml'];

test.each([
  { folder: 'dist/lib', libraries: [...ENGINE, 'eventsource-parser'] },
  { folder: 'dist/site', libraries: [...ENGINE, ...PAGE] },
])('$folder', ({ folder, libraries }) => {
  const text = readFileSync(join(repository, folder, NOTICES), 'utf8');
  for (const name of libraries) {
    const { version } = JSON.parse(readFileSync(join(repository, 'node_modules', name, 'package.json'), 'utf8'));
    expect(text).toContain(`\n${name} ${version}, `);
  }
});
