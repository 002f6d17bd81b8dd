/** Notices of bundled libraries: each with its licence's text, or none is handed out. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { gatherPackages, noticesText } from '../../scripts/notices.mjs';
import { repository } from '../browser/servers';

const installed = (name: string) => join(repository, 'node_modules', name);

test('a notice has name, version, licence and its text, whatever the file is called', () => {
  const text = noticesText(['comlink', 'idb-keyval', 'dompurify', 'lowlight'].map(installed));
  for (const [name, file] of [
    ['comlink', 'LICENSE'],
    ['idb-keyval', 'LICENCE'],
    ['dompurify', 'LICENSE-MPL'],
    ['lowlight', 'license'],
  ] as const) {
    const { version, license } = JSON.parse(readFileSync(join(installed(name), 'package.json'), 'utf8'));
    expect(text).toContain(`\n${name} ${version}, ${license}\n`);
    expect(text).toContain(readFileSync(join(installed(name), file), 'utf8').trim());
  }
});

test('a package that only names the Apache licence gets its text', () => {
  expect(noticesText([installed('@mlc-ai/web-xgrammar')])).toContain('Apache License');
});

test('a package without a licence text is not handed out', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-notices-'));
  const made = join(folder, 'made');
  mkdirSync(made);
  writeFileSync(join(made, 'package.json'), JSON.stringify({ name: 'made', version: '1.0.0', license: 'MIT' }));
  expect(() => noticesText([made])).toThrow('made has no licence text');
  rmSync(folder, { recursive: true });
});

test('packages are found by what is bundled, nested and scoped ones too', () => {
  const packages = new Set<string>();
  const ids = [
    '/r/src/a.ts',
    '/r/node_modules/@a/b/dist/x.js',
    '\0/r/node_modules/c/node_modules/d/i.js?commonjs',
    '/r/node_modules/e/i.js',
  ];
  const { generateBundle } = gatherPackages(packages) as unknown as { generateBundle(options: object, bundle: object): void };
  generateBundle({}, { 'x.js': { type: 'chunk', moduleIds: ids }, 'x.css': { type: 'asset' } });
  expect([...packages]).toEqual(['/r/node_modules/@a/b', '/r/node_modules/c/node_modules/d', '/r/node_modules/e']);
});
