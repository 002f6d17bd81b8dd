/**
 * The documents done as they are read. The README's first steps, by its own commands and its own page, must lead to a reply that streams; every
 * other block marked `run` must run as it stands, with the package and the bundled model where test/docs/blocks.ts says.
 */
import { type ChildProcess, execSync, spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { build } from 'vite';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Block, blocksOf } from '../docs/blocks';
import { problemsOf, send, waitFor } from './element_page';
import { browserTitles, launch, poll, type TestPage } from './launch';
import { repository, startStaticServer, type TestServer } from './servers';

const runnable = blocksOf().filter(({ run }) => run);
const inReadme = (language: string) => runnable.filter((block) => block.file === 'README.md' && block.language === language);
const programs = runnable.filter(({ language }) => language === 'ts');
const pages = runnable.filter(({ language, file }) => language === 'html' && file !== 'README.md');
/** What the programs import besides this package. */
const PACKAGES = ['ai', 'openai', 'zod'];

test('nothing is marked `run` that is not run below', () => {
  const kinds = [programs, pages, inReadme('html'), inReadme('sh')];
  expect(
    kinds
      .flat()
      .map(({ at }) => at)
      .sort(),
  ).toEqual(runnable.map(({ at }) => at).sort());
});

const scratch = mkdtempSync(join(tmpdir(), 'sluice-docs-'));
afterAll(() => rmSync(scratch, { recursive: true }));

describe('the README’s first steps', () => {
  const steps = join(scratch, 'steps');
  let serving: ChildProcess;
  let url: string;

  beforeAll(async () => {
    mkdirSync(steps);
    for (const name of ['dist', 'demo', 'node_modules']) symlinkSync(join(repository, name), join(steps, name));
    const commands = inReadme('sh').flatMap(({ text }) => text.trim().split('\n'));
    const [install, ...others] = commands;
    expect(install).toBe('npm ci && npm run build'); // done already: the build is what setup.ts made
    const [page, ...noOther] = inReadme('html');
    expect(noOther).toEqual([]);
    for (const command of others.slice(0, -1)) execSync(command, { cwd: steps, stdio: 'pipe' });
    writeFileSync(join(steps, 'site/index.html'), page!.text);
    serving = spawn(others.at(-1)!, { cwd: steps, shell: true, detached: true, stdio: ['ignore', 'pipe', 'inherit'] });
    url = await addressSaidBy(serving);
  });
  afterAll(() => void (serving?.pid && process.kill(-serving.pid))); // the shell and what it started

  test.each(['chromium', 'firefox'] as const)('lead to a reply that streams: %s', async (name) => {
    const page = await launch(name);
    try {
      await page.open(url);
      await waitFor(page, 'the element', ({ parts }) => 'input' in parts);
      await page.evaluate(() => document.querySelector('sluice-chat')!.shadowRoot!.querySelector('textarea')!.focus());
      await page.type('Tell me a story about a fox.');
      await page.press('Enter');
      const lengths = new Set<number>();
      await waitFor(page, 'the reply growing', ({ turns, busy }) => {
        if (busy) lengths.add(turns[1]?.text.length ?? 0);
        return lengths.size > 3;
      });
      expect(Math.max(...lengths)).toBeGreaterThan(5);
      const { parts } = await waitFor(page, 'what is shown', () => true);
      expect(parts.status).toBe('Answered on this device');
      expect(problemsOf(page)).toEqual([]);
    } finally {
      await page.close();
    }
  });
});

describe(`the documents’ code: ${browserTitles.chromium}`, () => {
  let page: TestPage;
  let site: TestServer;

  beforeAll(async () => {
    site = await startStaticServer({ folder: await bundledSite() });
    page = await launch('chromium');
  });
  afterAll(async () => {
    await page?.close();
    await site?.close();
  });

  test.each(programs)('$at', async (program) => {
    page.errors.length = 0;
    await page.open(`${site.url}index.html?${programs.indexOf(program)}`);
    const end = await poll(program.at, () => page.evaluate(() => document.body.dataset.end));
    expect(end).toBe('done');
    const said = await page.evaluate(() => (window as unknown as { said: string[] }).said);
    expect(said.join('')).toMatch(/\w/);
    expect(page.errors).toEqual([]);
  });

  test.each(pages)('$at', async (block) => {
    page.errors.length = 0;
    await page.open(`${site.url}${pages.indexOf(block)}.html`);
    await waitFor(page, 'the element', () => true);
    await send(page, 'Tell a story.');
    const { turns } = await waitFor(page, 'a reply', (seen) => seen.busy && (seen.turns[1]?.text.length ?? 0) > 5);
    expect(turns[1]!.text).toMatch(/\w/);
    expect(problemsOf(page)).toEqual([]);
  });
});

/** A reader's project, with the package where npm would put it: the programs through a bundler, the pages as they are. */
async function bundledSite(): Promise<string> {
  const project = join(scratch, 'project');
  const installed = join(project, 'node_modules/sluice');
  cpSync(join(repository, 'dist/lib'), join(installed, 'dist/lib'), { recursive: true });
  cpSync(join(repository, 'package.json'), join(installed, 'package.json'));
  for (const name of PACKAGES) symlinkSync(join(repository, 'node_modules', name), join(project, 'node_modules', name));
  cpSync(join(repository, 'demo/model'), join(project, 'public/model'), { recursive: true });
  cpSync(join(repository, 'dist/lib'), join(project, 'public/sluice'), { recursive: true });
  for (const [index, { text }] of pages.entries()) write(project, `public/${index}.html`, pageOf(text));
  for (const [index, { text }] of programs.entries()) write(project, `${index}.ts`, text);
  write(project, 'main.js', mainOf(programs));
  write(project, 'index.html', pageOf('<script type="module" src="./main.js"></script>'));
  await build({ root: project, configFile: false, logLevel: 'error', build: { target: 'es2022' } });
  return join(project, 'dist');
}

/** Runs the program whose number is the address's query, and keeps what it says. */
function mainOf(all: readonly Block[]): string {
  const imports = all.map((_, index) => `() => import('./${index}.ts')`);
  return `
    window.said = [];
    console.log = (...words) => void said.push(words.join(' '));
    const end = (word) => { document.body.dataset.end = word; };
    [${imports}][Number(location.search.slice(1))]().then(() => end('done'), (error) => end(error.name + ': ' + error.message));
  `;
}

const pageOf = (body: string): string =>
  `<!doctype html><html lang="en"><meta charset="utf-8"><title>A page</title><link rel="icon" href="data:,"><body>${body}</body></html>`;

function write(folder: string, name: string, text: string): void {
  mkdirSync(dirname(join(folder, name)), { recursive: true });
  writeFileSync(join(folder, name), text);
}

/** Vite says where it listens once it does; the port is another one where the usual is taken. */
async function addressSaidBy(serving: ChildProcess): Promise<string> {
  let said = '';
  serving.stdout!.on('data', (piece) => {
    said += piece;
  });
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours
  const address = () => /http:\/\/localhost:\d+\//.exec(said.replace(/\x1b\[\d*m/g, ''))?.[0];
  return poll('the server', async () => address(), { timeoutMs: 60_000 });
}
