/**
 * The architecture as a table: which room may import which. It holds for types too, because a type is knowledge as well. An import
 * that breaks it fails here, and so does a folder that the table does not know.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { join, posix, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));

type Rule = {
  /** Rooms it may import, besides itself and errors. */
  rooms: string[];
  /** Of errors it may know types only. */
  errorTypesOnly?: boolean;
  /** Other folders of the repository, or packages beyond `dependencies`. */
  folders?: string[];
  packages?: string[];
  node?: boolean;
};

const readers = ['format', 'text', 'storage', 'gpu', 'protocol', 'plan', 'stream', 'kernels', 'model'];

const map: Record<string, Rule> = {
  errors: { rooms: [] },
  wasm: { rooms: [] },
  format: { rooms: [] },
  grammar: { rooms: ['protocol', 'wasm'] },
  text: { rooms: ['grammar', 'protocol'] },
  storage: { rooms: ['wasm'] },
  gpu: { rooms: [] },
  protocol: { rooms: [], errorTypesOnly: true },
  plan: { rooms: ['format'] },
  stream: { rooms: ['format', 'storage', 'plan', 'gpu'] },
  kernels: { rooms: ['format', 'gpu'], folders: ['wgsl'] },
  cases: { rooms: ['format', 'gpu', 'plan', 'kernels'] },
  model: { rooms: ['format', 'plan', 'gpu', 'kernels'] },
  engine: { rooms: readers },
  synth: { rooms: ['format', 'text', 'kernels', 'engine'] },
  bench: { rooms: ['format', 'storage', 'gpu', 'protocol', 'plan', 'stream', 'kernels', 'engine', 'synth'], folders: ['wgsl'] },
  doctor: { rooms: ['format', 'storage', 'gpu', 'plan', 'stream', 'kernels', 'cases', 'engine', 'synth', 'bench'] },
  endpoint: { rooms: ['protocol'] },
  api: { rooms: ['endpoint', 'protocol'] },
  element: { rooms: ['api'] },
  adapters: { rooms: ['api'], packages: ['ai', '@ai-sdk/provider'] },
  node: { rooms: [...readers, 'engine', 'synth', 'bench'], packages: ['webgpu'], node: true },
  workers: { rooms: ['engine', 'text', 'protocol', 'storage', 'bench', 'doctor'] },
  demo: {
    rooms: ['api', 'element', 'bench', 'doctor'],
    packages: ['idb-keyval', 'markdown-it', 'lowlight', 'highlight.js', 'temml', 'dompurify'],
  },
};

/** Folders of the repository, besides src/, that are rooms. */
const outerRooms = ['workers', 'demo'];

type SourceFile = { path: string; text: string };
type Import = { from: string; specifier: string; typeOnly: boolean };

const files = [...filesIn('src'), ...outerRooms.flatMap(filesIn)];
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { dependencies: Record<string, string> };

describe('the rooms of the repository', () => {
  test('every import is one that the map allows', () => {
    expect(files.length).toBeGreaterThan(30);
    expect(violations(files)).toEqual([]);
  });

  test('every folder and file of src is in the map, and every room of the map is there', () => {
    const names = readdirSync(join(root, 'src')).map((name) => name.replace(/\.ts$/, ''));
    expect([...names, ...outerRooms].sort()).toEqual(Object.keys(map).sort());
  });

  test('rooms import each other in no circle', () => {
    expect(cycleIn(roomGraph(files))).toBeUndefined();
  });

  test('no file is an import of itself, through others', () => {
    expect(cycleIn(fileGraph(files))).toBeUndefined();
  });
});

describe('the check itself, on planted files', () => {
  const plant = (path: string, text: string) => violations([{ path, text }]);

  test.each([
    ['src/gpu/x.ts', "import { parseConfig } from '../format/config';", 'gpu may not import format'],
    ['src/gpu/x.ts', "import type { ModelConfig } from '../format/config';", 'gpu may not import format'],
    ['src/gpu/x.ts', "export * from '../format/config';", 'gpu may not import format'],
    ['src/gpu/x.ts', "type C = import('../format/config').ModelConfig;", 'gpu may not import format'],
    ['src/gpu/x.ts', "const c = await import('../format/config');", 'gpu may not import format'],
    ['src/gpu/x.ts', "const u = new URL('../format/config.ts', import.meta.url);", 'gpu may not import format'],
    ['src/gpu/x.ts', "import code from '../../wgsl/gemv.wgsl?raw';", 'gpu may not import wgsl'],
    ['src/api/x.ts', "import { spawn } from '../../workers/spawn';", 'api may not import workers'],
    ['src/protocol/x.ts', "import { toWire } from '../errors';", 'protocol may import types of errors only'],
    ['src/model/x.ts', "import { readFile } from 'node:fs/promises';", 'model may not import node:fs/promises'],
    ['src/model/x.ts', "import { readFile } from 'fs';", 'model may not import fs'],
    ['src/engine/x.ts', "import { create } from 'webgpu';", 'engine may not import webgpu'],
    ['src/node/x.ts', "import fc from 'fast-check';", 'node may not import fast-check'],
    ['demo/x.ts', "import type { GenerateEvent } from '../src/protocol/engine';", 'demo may not import protocol'],
    ['src/utils/x.ts', 'export {};', 'utils is not in the map'],
    ['src/format/x.ts', "import { test } from '../../test/format/headers';", 'format may not import test'],
  ])('%s: %s', (path, text, expected) => expect(plant(path, text)).toEqual([`${path}: ${expected}`]));

  test.each([
    ['src/kernels/x.ts', "import code from '../../wgsl/gemv.wgsl?raw';"],
    ['src/kernels/reference/x.ts', "import type { Matrix } from '../../format/types';"],
    ['src/api/x.ts', "import url from '../../workers/engine.worker.ts?worker&url';"],
    ['src/protocol/x.ts', "import type { WireError } from '../errors';"],
    ['src/protocol/x.ts', "import { type WireError } from '../errors';"],
    ['src/node/x.ts', "import { create } from 'webgpu'; import { open } from 'node:fs/promises';"],
    ['src/text/x.ts', "import { Template } from '@huggingface/jinja';"],
    ['demo/x.ts', "import { createEngine } from '../src/api';"],
  ])('%s: %s is allowed', (path, text) => expect(plant(path, text)).toEqual([]));

  test('circles are found', () => {
    const planted = [
      { path: 'src/format/a.ts', text: "import './b';" },
      { path: 'src/format/b.ts', text: "import type { C } from '../plan/c';" },
      { path: 'src/plan/c.ts', text: "import '../format/a';" },
    ];
    expect(cycleIn(roomGraph(planted))).toEqual(['format', 'plan', 'format']);
    expect(cycleIn(fileGraph(planted))).toBeUndefined(); // b knows a type of c only
    planted[1]!.text = "import { C } from '../plan/c';";
    expect(cycleIn(fileGraph(planted))).toEqual(['src/format/a', 'src/format/b', 'src/plan/c', 'src/format/a']);
  });
});

function violations(sources: SourceFile[]): string[] {
  return sources.flatMap((file) => {
    const room = roomOf(file.path);
    const rule = map[room];
    if (!rule) return [`${file.path}: ${room} is not in the map`];
    return importsOf(file).flatMap((entry) => {
      const problem = problemOf(room, rule, entry);
      return problem ? [`${file.path}: ${problem}`] : [];
    });
  });
}

function problemOf(room: string, rule: Rule, entry: Import): string | undefined {
  if (!entry.specifier.startsWith('.')) {
    return mayUsePackage(rule, entry.specifier) ? undefined : `${room} may not import ${entry.specifier}`;
  }
  // The address of a worker's file is not its code: the page must know the one without the other.
  if (/\.worker\.ts\?worker&url$/.test(entry.specifier)) return undefined;
  const target = roomOf(targetOf(entry));
  if (target === room || rule.folders?.includes(target) || rule.rooms.includes(target)) return undefined;
  if (target !== 'errors') return `${room} may not import ${target}`;
  return rule.errorTypesOnly && !entry.typeOnly ? `${room} may import types of errors only` : undefined;
}

function mayUsePackage(rule: Rule, specifier: string): boolean {
  const name = specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
  if (name.startsWith('node:')) return rule.node === true;
  if (builtinModules.includes(name)) return false; // without its prefix it is a package's name to a bundler
  return name in manifest.dependencies || rule.packages?.includes(name) === true;
}

/** Path relative to the repository, without a query. */
function targetOf({ from, specifier }: Import): string {
  return posix.join(posix.dirname(from), specifier.split('?')[0]!);
}

/** The folder below src/, the file's stem where it lies in src/ itself, or the outer folder. */
function roomOf(path: string): string {
  const [first, second] = path.split('/');
  return first === 'src' ? (second ?? 'src').replace(/\.ts$/, '') : first!;
}

const parsed = new Map<string, Import[]>();

function importsOf({ path, text }: SourceFile): Import[] {
  const key = `${path}\n${text}`;
  const imports = parsed.get(key) ?? parseImports(path, text);
  parsed.set(key, imports);
  return imports;
}

function parseImports(path: string, text: string): Import[] {
  const imports: Import[] = [];
  const add = (node: ts.Node | undefined, typeOnly: boolean) => {
    if (node && ts.isStringLiteralLike(node)) imports.push({ from: path, specifier: node.text, typeOnly });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, isTypeImport(node));
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly);
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal, true);
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) add(node.arguments[0], false);
    else if (ts.isNewExpression(node) && isModuleUrl(node)) add(node.arguments?.[0], false);
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(path, text, ts.ScriptTarget.Latest));
  return imports;
}

function isTypeImport({ importClause }: ts.ImportDeclaration): boolean {
  if (!importClause) return false;
  const named = importClause.namedBindings;
  const onlyTypes = named && ts.isNamedImports(named) && named.elements.every((element) => element.isTypeOnly);
  return importClause.isTypeOnly || (!importClause.name && onlyTypes === true);
}

/** new URL('…', import.meta.url): how a worker or an asset is named. `'.'` alone is the folder, which is no import. */
function isModuleUrl(node: ts.NewExpression): boolean {
  const [path, base] = node.arguments ?? [];
  const isUrl = ts.isIdentifier(node.expression) && node.expression.text === 'URL';
  const named = path !== undefined && ts.isStringLiteralLike(path) && path.text.startsWith('.') && path.text !== '.';
  return isUrl && named && base !== undefined && ts.isPropertyAccessExpression(base) && ts.isMetaProperty(base.expression);
}

/** Edges for types too: rooms are about knowledge. */
function roomGraph(sources: SourceFile[]): Map<string, string[]> {
  return graph(
    sources,
    (file) => roomOf(file.path),
    (entry) => roomOf(targetOf(entry)),
  );
}

/** Edges that exist at run time only: a circle of types harms nobody within a room. */
function fileGraph(sources: SourceFile[]): Map<string, string[]> {
  const stem = (path: string) => path.replace(/\.ts$/, '');
  return graph(
    sources,
    (file) => stem(file.path),
    (entry) => (entry.typeOnly ? undefined : stem(targetOf(entry))),
  );
}

function graph(
  sources: SourceFile[],
  from: (file: SourceFile) => string,
  to: (entry: Import) => string | undefined,
): Map<string, string[]> {
  const edges = new Map<string, string[]>();
  for (const file of sources) {
    const local = importsOf(file).filter(({ specifier }) => specifier.startsWith('.') && !specifier.includes('?worker'));
    const targets = local.map(to).filter((target) => target !== undefined && target !== from(file)) as string[];
    edges.set(from(file), [...(edges.get(from(file)) ?? []), ...targets]);
  }
  return edges;
}

/** One circle, first node repeated at the end; undefined if there is none. */
function cycleIn(edges: Map<string, string[]>): string[] | undefined {
  const done = new Set<string>();
  const walk = (node: string, path: string[]): string[] | undefined => {
    if (path.includes(node)) return [...path.slice(path.indexOf(node)), node];
    if (done.has(node)) return undefined;
    for (const next of edges.get(node) ?? []) {
      const found = walk(next, [...path, node]);
      if (found) return found;
    }
    done.add(node);
    return undefined;
  };
  for (const node of edges.keys()) {
    const found = walk(node, []);
    if (found) return found;
  }
  return undefined;
}

function filesIn(folder: string): SourceFile[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => ({ path: relative(root, path).replaceAll('\\', '/'), text: readFileSync(path, 'utf8') }));
}
