/** The library as its users load it: from another origin by one import, and through a bundler that renames files. */
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'vite';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { browserTitles, launch, poll, type TestPage } from './launch';
import { repository, shared, startStaticServer, type TestServer } from './servers';

/** What a page's own script does, given where the library is. Kept as text: this is the code a user writes. */
const userScript = (library: string) => `
  import { createEngine } from ${JSON.stringify(library)};
  const show = (text) => { document.body.dataset.result = text; };
  try {
    const engine = await createEngine('./model/', { onProgress: ({ text }) => { document.body.textContent = text; } });
    const reply = await engine.completions.create({ prompt: 'Once upon a time', max_tokens: 12, temperature: 0 });
    const schema = { type: 'object', properties: { animal: { enum: ['fox', 'owl'] }, legs: { type: 'integer', minimum: 2, maximum: 4 } }, required: ['animal', 'legs'] };
    const messages = [{ role: 'user', content: 'Which animal?' }];
    const format = { type: 'json_schema', json_schema: { name: 'animal', schema } };
    const held = await engine.chat.completions.create({ messages, response_format: format, max_tokens: 32, temperature: 0 });
    const { animal, legs } = JSON.parse(held.choices[0].message.content);
    if (!['fox', 'owl'].includes(animal) || !(legs >= 2 && legs <= 4)) throw new Error('not held to its schema');
    await engine.unload();
    show('text: ' + reply.choices[0].text);
  } catch (error) {
    show('error: ' + error.name + ': ' + error.message);
  }
`;
const pageWith = (script: string) =>
  `<!doctype html><meta charset="utf-8"><title>User</title><link rel="icon" href="data:,">${script}<body></body>`;

const scratch = mkdtempSync(join(tmpdir(), 'sluice-library-'));
const opened: TestServer[] = [];
let cdn: TestServer;
beforeAll(async () => {
  cdn = await startStaticServer({ folder: join(repository, 'dist/lib'), basePath: '/npm/sluice/dist/lib/', headers: shared });
  opened.push(cdn);
});
afterAll(async () => {
  await Promise.all(opened.map((server) => server.close()));
  rmSync(scratch, { recursive: true });
});

describe.each(['chromium', 'firefox'] as const)('the library in %s', (name) => {
  let page: TestPage;
  beforeAll(async () => {
    page = await launch(name);
  });
  afterAll(() => page.close());

  test(`${browserTitles[name]}: one import from another origin, which sends CORS and nothing else`, async () => {
    const script = `<script type="module">${userScript(`${cdn.url}sluice.js`)}</script>`;
    const site = await startStaticServer({ folder: join(repository, 'demo'), pages: { 'index.html': pageWith(script) } });
    opened.push(site);
    expect(new URL(site.url).origin).not.toBe(new URL(cdn.url).origin);
    await expectCompletion(page, `${site.url}index.html`);
    expect(cdn.missing).toEqual([]);
  });

  test(`${browserTitles[name]}: through a bundler that hashes the worker's name`, async () => {
    const site = await startStaticServer({ folder: await bundledSite(name) });
    opened.push(site);
    await expectCompletion(page, site.url);
  });
});

async function expectCompletion(page: TestPage, url: string): Promise<void> {
  await page.open(url);
  const answer = () => page.evaluate(() => document.body.dataset.result);
  const result = await poll('a completion', answer).catch(async (error: Error) => {
    const progress = await page.evaluate(() => document.body.textContent);
    throw new Error(`${error.message}. The last progress: ${progress}. ${page.errors.join('; ')}`);
  });
  expect(result).toMatch(/^text: .*\w/);
  expect(page.errors).toEqual([]);
}

/** A project of a user's own, with the library where npm would put it. */
async function bundledSite(name: string): Promise<string> {
  const project = join(scratch, name);
  cpSync(join(repository, 'dist/lib'), join(project, 'node_modules/sluice/dist/lib'), { recursive: true });
  cpSync(join(repository, 'package.json'), join(project, 'node_modules/sluice/package.json'));
  cpSync(join(repository, 'demo/model'), join(project, 'public/model'), { recursive: true });
  writeFileSync(join(project, 'index.html'), pageWith('<script type="module" src="./main.js"></script>'));
  writeFileSync(join(project, 'main.js'), userScript('sluice'));
  await build({ root: project, configFile: false, logLevel: 'error', build: { target: 'es2022' } });
  return join(project, 'dist');
}
