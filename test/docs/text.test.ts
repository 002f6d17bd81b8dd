/** What the documents say of files, addresses within them, and commands. Their code is in code.test.ts, what it does in test/browser/docs.test.ts. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { describe, expect, test } from 'vitest';
import { blobCsp, ownWorkerCsp, STRICT_CSP } from '../browser/policies';
import { type Block, blocksOf, type Document, documents, parse, root } from './blocks';

const all = documents();
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> };
const binaries = readdirSync(join(root, 'node_modules/.bin'));
/** What a block may be; one without a language is plain text. */
const LANGUAGES = ['ts', 'js', 'html', 'sh', 'json', 'nginx', ''];

test('there is something to read', () => {
  expect(all.map(({ file }) => file)).toContain('docs/embed.md');
  expect(blocksOf(all).filter(({ run }) => run).length).toBeGreaterThan(5);
});

test('the policies that the README gives are those that the element is tested under', () => {
  const { spans } = all.find(({ file }) => file === 'README.md')!;
  const cdn = 'https://cdn.example';
  expect(spans.filter((span) => span.startsWith('default-src'))).toEqual([STRICT_CSP, blobCsp(cdn), ownWorkerCsp(cdn)]);
});

test('the README says which pages Safari is driven through, and its ten lines of code are no more', () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  const pagesIn = (text: string) => [...text.matchAll(/demo\/(\w+)\.html/g)].map(([, name]) => name).sort();
  const sentence = /`npm run test:safari`, on a Mac, drives Safari through[^;]*?\.\n/.exec(readme)![0];
  expect(pagesIn(sentence)).toEqual(pagesIn(readFileSync(join(root, 'scripts/safari.mjs'), 'utf8')));
  const [, code] = /## Ten lines of code\n.*?```ts run\n(.*?)```/s.exec(readme)!;
  expect(code!.split('\n').filter((line) => line.trim() !== '')).toHaveLength(10);
});

test('the README leads to a guide for each subject, and says browsers, limits, and speeds with their command', () => {
  const { links, anchors } = all.find(({ file }) => file === 'README.md')!;
  const guides = ['models', 'hosting', 'embed', 'structured-output', 'adapters', 'privacy', 'troubleshooting', 'migrating'];
  for (const guide of [...guides.map((name) => `docs/${name}.md`), 'docs/api/README.md']) expect(links).toContain(guide);
  expect(anchors).toEqual(expect.arrayContaining(['what-it-needs', 'measured', 'limits-and-known-differences']));
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  for (const browser of ['Chrome, Edge', 'Safari', 'Firefox'])
    expect(readme).toMatch(new RegExp(`^\\| ${browser} \\| \\d+`, 'm'));
  const [, measured] = /## Measured\n(.*?)\n## /s.exec(readme)!;
  const between = measured!.split(/(?:^\|.*\n)+/m).slice(0, -1); // what stands above each table
  expect(between.length).toBeGreaterThan(3);
  expect(between.filter((text) => !/`(?:npm run [\w:]+|node )/.test(text))).toEqual([]);
});

test('who comes from WebLLM or transformers.js is told first what Sluice lacks, vision and embeddings among it', () => {
  const text = readFileSync(join(root, 'docs/migrating.md'), 'utf8');
  expect([...text.matchAll(/^## (.*)$/gm)].map(([, title]) => title).slice(0, 3)).toEqual([
    'What Sluice lacks',
    'From WebLLM',
    'From transformers.js',
  ]);
  const [, lacks] = /## What Sluice lacks\n(.*?)\n## /s.exec(text)!;
  for (const what of ['Vision', 'Embeddings']) expect(lacks).toContain(`| **${what}`);
});

test('the policy for the hub lets its default address and its storage through', () => {
  const { spans } = all.find(({ file }) => file === 'README.md')!;
  const [row, ...others] = spans.filter((span) => /^connect-src .*hf\.co/.test(span));
  const [directive, ...sources] = row!.split(' ');
  expect(others).toEqual([]);
  expect(directive).toBe('connect-src');
  const allowed = (host: string) =>
    sources.some((source) => {
      const [, any, name] = /^https:\/\/(\*\.)?([\w.-]+)$/.exec(source)!;
      return any ? host.endsWith(`.${name}`) : host === name;
    });
  const [, hub] = /'https:\/\/([\w.-]+)\/?'/.exec(readFileSync(join(root, 'src/storage/model_ref.ts'), 'utf8'))!;
  for (const host of [hub!, 'cdn-lfs.huggingface.co', 'cas-bridge.xethub.hf.co']) expect(allowed(host), host).toBe(true);
  expect(allowed('huggingface.co.evil.invalid')).toBe(false);
});

test('troubleshooting knows every code of an error', () => {
  const { spans } = all.find(({ file }) => file === 'docs/troubleshooting.md')!;
  const [, union] = /type ErrorCode =([^;]*);/.exec(readFileSync(join(root, 'src/errors.ts'), 'utf8'))!;
  const codes = [...union!.matchAll(/'([\w-]+)'/g)].map(([, code]) => code);
  expect(codes.length).toBeGreaterThan(10);
  expect(codes.filter((code) => !spans.includes(code!))).toEqual([]);
});

describe.each(all)('$file', (document) => {
  test('its links lead to files and headings that exist', () => expect(brokenLinks(document, all)).toEqual([]));
  test('the files that it names exist', () => expect(missingFiles(document)).toEqual([]));
  test('its commands exist, its JSON is JSON, its languages are known', () => {
    const lines = document.blocks.filter(({ language }) => language === 'sh').flatMap(({ text }) => text.split('\n'));
    expect([...lines, ...document.spans].flatMap(missingCommands)).toEqual([]);
    expect(document.blocks.flatMap(problemsOf)).toEqual([]);
  });
});

describe('the check itself, on planted text', () => {
  const plant = (text: string) => parse('docs/planted.md', text);

  test('links', () => {
    const text = '# A *b* `c`, d\n[1](#a-b-c-d) [2](embed.md#attributes) [3](../README.md) [4](#z) [5](embed.md#z) [6](z.md)';
    const planted = plant(text);
    expect(brokenLinks(planted, [...all, planted])).toEqual(['#z', 'embed.md#z', 'z.md']);
  });

  test('files', () => {
    const planted = plant('`src/errors.ts` `plan/placement.ts` `src/z.ts` `plan/z.ts` `docs/z/` `owner/name` `ms/token`');
    expect(missingFiles(planted)).toEqual(['src/z.ts', 'plan/z.ts', 'docs/z/']);
  });

  test('commands', () => {
    const line =
      'npm ci && npm run check && npm run --silent generate -- --model x; npm run z; npm z && npx vite && npx z -y; node scripts/z.mjs';
    expect(missingCommands(line)).toEqual(['npm run z', 'npm z', 'npx z', 'node scripts/z.mjs']);
  });

  test('blocks', () => {
    const { blocks } = plant('```json\n{ 1 }\n```\n```tss\n```\n');
    expect(blocks.flatMap(problemsOf)).toEqual(['docs/planted.md:1 is no JSON', "docs/planted.md:4 is in 'tss'"]);
  });
});

function brokenLinks({ file, links, anchors }: Document, among: Document[]): string[] {
  return links.filter((link) => {
    if (/^(https?|mailto):/.test(link)) return false;
    const [path, anchor] = decodeURI(link).split('#') as [string, string?];
    const target = path === '' ? file : posix.join(posix.dirname(file), path);
    if (!existsSync(join(root, target)) && path !== '') return true;
    if (anchor === undefined) return false;
    return !(path === '' ? anchors : among.find((other) => other.file === target)?.anchors)?.includes(anchor);
  });
}

/** Paths from the repository's root, or, to a file, from src/. What a build or the reader makes is not there yet. */
function missingFiles({ spans }: Document): string[] {
  const fromRoot = /^(src|docs|demo|test|scripts|wgsl|workers)\/[\w./-]*$/;
  const toFile = /^[a-z_]+(\/\w+)+\.(ts|mjs|md|html|wgsl)$/;
  return spans.filter((path) => {
    if (/^(dist|site)\//.test(path) || (!fromRoot.test(path) && !toFile.test(path))) return false;
    return ![path, `src/${path}`].some((place) => existsSync(join(root, place)));
  });
}

/** What `npm`, `npx` and `node` are asked for in a line. */
function missingCommands(line: string): string[] {
  const parts = line.replace(/#.*$/, '').split(/&&|;|\|/);
  return parts.flatMap((part) => {
    const [program, first = '', second = ''] = part
      .trim()
      .split(/\s+/)
      .filter((word) => !/^(--silent|[A-Z_]+=.*)$/.test(word));
    if (program === 'npm' && first === 'run') return second in scripts ? [] : [`npm run ${second}`];
    if (program === 'npm') return ['ci', 'install'].includes(first) || first in scripts ? [] : [`npm ${first}`];
    if (program === 'npx') return binaries.includes(first) ? [] : [`npx ${first}`];
    if (program === 'node' && /^\w/.test(first)) return existsSync(join(root, first)) ? [] : [`node ${first}`];
    return [];
  });
}

function problemsOf({ at, language, text }: Block): string[] {
  if (!LANGUAGES.includes(language)) return [`${at} is in '${language}'`];
  if (language !== 'json') return [];
  try {
    JSON.parse(text);
    return [];
  } catch {
    return [`${at} is no JSON`];
  }
}
