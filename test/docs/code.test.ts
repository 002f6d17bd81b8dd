/**
 * The documents' code against the package as npm would install it: its declarations, found through the names that package.json exports, by
 * Node's own rules and under strict checks. And the reference that is made from the same declarations.
 */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import ts from 'typescript';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { emitDeclarations } from '../../scripts/declarations.mjs';
import { referencePages } from '../../scripts/docs.mjs';
import { type Block, documents, isReference, root } from './blocks';

/** What the documents' readers have installed besides this package and what it depends on. */
const PEERS = ['ai', '@ai-sdk/provider', 'openai', 'zod'];
const PLANTED = { at: 'planted', text: "import { createEngin } from 'sluice';\nconst engine: string = createEngin;" };

const project = mkdtempSync(join(tmpdir(), 'sluice-docs-'));
const installed = join(project, 'node_modules/sluice');
const types = join(installed, 'dist/lib/types');
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  exports: Record<string, { import?: string }>;
  dependencies: Record<string, string>;
};
let program: ts.Program;
const written = new Map<string, string>();

beforeAll(() => {
  mkdirSync(installed, { recursive: true });
  cpSync(join(root, 'package.json'), join(installed, 'package.json'));
  for (const name of [...PEERS, ...Object.keys(manifest.dependencies)]) {
    const place = join(project, 'node_modules', name);
    mkdirSync(dirname(place), { recursive: true });
    symlinkSync(join(root, 'node_modules', name), place);
  }
  writeFileSync(join(project, 'package.json'), '{ "type": "module" }');
  emitDeclarations(types, { check: false }); // `npm run check` does
  for (const { at, text } of [...modules(), PLANTED]) write(at, text);
  program = ts.createProgram([...written.keys(), ...declarations()], {
    strict: true,
    noEmit: true,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    lib: ['lib.es2023.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts', 'lib.dom.asynciterable.d.ts'],
    types: [],
  });
});
afterAll(() => rmSync(project, { recursive: true }));

test('every block of TypeScript and JavaScript compiles', () => {
  expect(written.size).toBeGreaterThan(15);
  const problems = [...written]
    .filter(([, at]) => at !== PLANTED.at)
    .flatMap(([file, at]) => problemsIn(file).map((text) => `${at}: ${text}`));
  expect(problems).toEqual([]);
});

test('what does not compile is found', () => {
  const [planted] = [...written].find(([, at]) => at === PLANTED.at)!;
  expect(problemsIn(planted)).toEqual([expect.stringMatching(/^1: .*createEngin/)]);
});

test('the declarations need nothing that a user does not have', () => {
  expect(declarations().length).toBeGreaterThan(20);
  expect(declarations().flatMap((file) => problemsIn(file).map((text) => `${relative(types, file)}: ${text}`))).toEqual([]);
});

test('docs/api is what `npm run docs` makes', () => {
  const made = referencePages(types);
  expect(readdirSync(join(root, 'docs/api')).sort()).toEqual([...made.keys()].sort());
  for (const [name, text] of made) expect(readFileSync(join(root, 'docs/api', name), 'utf8'), `docs/api/${name}`).toBe(text);
});

/** A page of the reference is one module; any other block, and every script of a block of HTML, is one by itself. */
function modules(): { at: string; text: string }[] {
  return documents().flatMap((document) => {
    const code = document.blocks.flatMap(codeOf);
    if (!isReference(document) || code.length === 0) return code;
    return [{ at: document.file, text: code.map(({ text }) => text).join('\n') }];
  });
}

function codeOf({ at, language, text }: Block): { at: string; text: string }[] {
  if (language === 'ts' || language === 'js') return [{ at, text }];
  if (language !== 'html') return [];
  const scripts = [...text.matchAll(/<script type="module">([\s\S]*?)<\/script>/g)];
  return scripts.map(([, script], index) => ({ at: `${at} script ${index + 1}`, text: byName(script!) }));
}

/** A file of dist/lib, on whatever server, by the name that package.json gives it. */
function byName(script: string): string {
  return script.replace(/(['"])[^'"\s]*\/sluice\/([\w-]+\.js)\1/g, (_, quote, file) => {
    const found = Object.entries(manifest.exports).find(([, target]) => target.import === `./dist/lib/${file}`);
    return `${quote}${found ? found[0].replace('.', 'sluice') : file}${quote}`;
  });
}

function write(at: string, text: string): void {
  const file = join(project, `${at.replace(/\W+/g, '_')}.ts`);
  writeFileSync(file, `${text}\nexport {};\n`);
  written.set(file, at);
}

function declarations(): string[] {
  const files = readdirSync(types, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.d.ts'));
  return files.map((file) => join(types, file));
}

/** 'line: what the compiler says', of this file alone. */
function problemsIn(file: string): string[] {
  const source = program.getSourceFile(file)!;
  const found = [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)];
  return found.map(({ start, messageText }) => {
    const { line } = source.getLineAndCharacterOfPosition(start ?? 0);
    return `${line + 1}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`;
  });
}
