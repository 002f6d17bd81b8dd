/**
 * npm run docs: docs/api/, the reference, from the package's declarations: a page for each entry of package.json, on it every name that can
 * be imported and every type that those speak of. test/docs/code.test.ts compiles the pages and fails where they are out of date.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { emitDeclarations } from './declarations.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const outDir = join(root, 'docs/api');
const NOTICE = '<!-- Made by `npm run docs` from the types. Changes belong there. -->';

/** Headings for what lies in which file; what is in none is 'Types'. */
const SECTIONS = [
  ['Engines and their options', /^(api\/|endpoint\/|protocol\/engine)/],
  ['Requests and replies', /^protocol\/chat/],
  ['Memory plans', /^protocol\/plan/],
  ['Stored models', /^protocol\/storage/],
  ['Errors', /^errors/],
];
const UNEXPORTED = 'Types without an import';

/** @param {string} typesDir @returns {Map<string, string>} */
export function referencePages(typesDir) {
  const entries = entriesOf(typesDir);
  const program = ts.createProgram(
    entries.map(({ file }) => file),
    { module: ts.ModuleKind.NodeNext, target: ts.ScriptTarget.ES2022, skipLibCheck: true, typeRoots: [], types: [] },
  );
  const world = { checker: program.getTypeChecker(), typesDir, homes: new Map() };
  const pages = entries.map((entry) => pageOf(entry, program.getSourceFile(entry.file), world));
  format(pages.flatMap(({ items }) => items));
  const texts = pages.map((page) => [page.file, render(page, world)]);
  return new Map([['README.md', renderIndex(pages)], ...texts]);
}

/** What package.json lets one import that has types. */
function entriesOf(typesDir) {
  const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  return Object.entries(exports)
    .filter(([, target]) => target.types)
    .map(([path, { types }]) => ({
      name: path.replace('.', 'sluice'),
      page: `${path === '.' ? 'sluice' : path.slice(2).replaceAll('/', '-')}.md`,
      file: join(typesDir, relative('dist/lib/types', types)),
    }));
}

/** Its own names, those that an earlier page has, and what its own speak of. */
function pageOf({ name, page }, source, world) {
  const names = world.checker.getExportsOfModule(world.checker.getSymbolAtLocation(source));
  const symbols = names.map((symbol) => resolved(symbol, world));
  const own = symbols.filter((symbol) => !world.homes.has(symbol));
  for (const symbol of own) world.homes.set(symbol, { page, module: name });
  const items = own.map((symbol) => itemOf(symbol, world));
  for (const { refers } of items) {
    // Grows while it is walked: what a type speaks of may speak of more.
    for (const symbol of refers)
      if (!world.homes.has(symbol) && !items.some((item) => item.symbol === symbol))
        items.push({ ...itemOf(symbol, world), hidden: true });
  }
  const elsewhere = symbols.filter((symbol) => world.homes.get(symbol)?.page !== page);
  return { name, file: page, about: firstParagraph(headerOf(source)), items, elsewhere };
}

const resolved = (symbol, { checker }) => (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol);

function itemOf(symbol, world) {
  const declarations = symbol.declarations.map((node) => (ts.isVariableDeclaration(node) ? node.parent.parent : node));
  const source = declarations[0].getSourceFile();
  const refers = new Set();
  const packages = new Map();
  for (const node of declarations) collect(node, world, refers, packages);
  refers.delete(symbol);
  return {
    symbol,
    name: symbol.name,
    file: relative(world.typesDir, source.fileName),
    isFunction: ts.isFunctionDeclaration(declarations[0]),
    comment: commentOf(declarations[0], source),
    code: declarations.map((node) => codeOf(node, source)).join('\n'),
    refers,
    packages,
  };
}

/** Top-level types of ours that a declaration speaks of, and names that it has from packages. */
function collect(node, world, refers, packages) {
  if (ts.isIdentifier(node)) {
    const named = world.checker.getSymbolAtLocation(node);
    const imported = named?.declarations?.find(ts.isImportSpecifier);
    const from = imported?.parent.parent.parent.moduleSpecifier.text;
    if (from && !from.startsWith('.')) packages.set(named.name, from);
    const symbol = named && resolved(named, world);
    const at = symbol?.declarations?.[0];
    if (at && isTopLevel(at) && !relative(world.typesDir, at.getSourceFile().fileName).startsWith('..')) refers.add(symbol);
  }
  ts.forEachChild(node, (child) => collect(child, world, refers, packages));
}

function isTopLevel(node) {
  const statement = ts.isVariableDeclaration(node) ? node.parent.parent : node;
  return ts.isSourceFile(statement.parent) && !ts.isImportDeclaration(statement);
}

/** Without `export`, and without members that are private or for the platform to call. */
function codeOf(node, source) {
  const hidden = node.members?.filter(isHidden) ?? [];
  let text = node.getText(source);
  for (const member of [...hidden].reverse()) {
    const at = node.getStart(source);
    text = text.slice(0, member.getFullStart() - at) + text.slice(member.getEnd() - at);
  }
  return text.replace(/^export /, '');
}

function isHidden(member) {
  if (!ts.isClassElement(member)) return false;
  const { name } = member;
  if (name && (ts.isPrivateIdentifier(name) || (ts.isIdentifier(name) && name.text.endsWith('Callback')))) return true;
  return (ts.getCombinedModifierFlags(member) & ts.ModifierFlags.Private) !== 0;
}

/** The comment right above, unless it is the file's own. */
function commentOf(node, source) {
  const ranges = ts.getLeadingCommentRanges(source.text, node.getFullStart()) ?? [];
  const last = ranges.at(-1);
  if (!last) return '';
  const text = source.text.slice(last.pos, last.end);
  return text === rawHeader(source) ? '' : plain(text);
}

const headerOf = (source) => plain(rawHeader(source) ?? '');

/** A comment that our source, which has kept its blank lines, does not put right above a declaration. */
function rawHeader({ fileName, text }) {
  const first = /^\/\*\*[\s\S]*?\*\//.exec(text)?.[0];
  const original = fileName.replace(/^.*?\/types\/(?=[a-z_]+[/.])/, `${root}src/`).replace(/\.d\.ts$/, '.ts');
  const after = first && readFileSync(original, 'utf8').slice(first.length);
  return after !== undefined && /^\n(\n|import )/.test(after) ? first : undefined;
}

function plain(comment) {
  const lines = comment.replace(/^\/\*\*?|\*\/$/g, '').split('\n');
  return lines
    .map((line) => line.replace(/^\s*\* ?/, '').trimEnd())
    .join('\n')
    .trim();
}

const firstParagraph = (text) => text.split('\n\n')[0];

/** All at once, by the formatter of our own sources. */
function format(items) {
  const input = items.map(({ code }, index) => `// @@${index}\n${code}\n`).join('');
  const biome = join(root, 'node_modules/@biomejs/biome/bin/biome');
  const run = spawnSync(process.execPath, [biome, 'format', '--stdin-file-path=reference.ts'], {
    cwd: root,
    input,
    encoding: 'utf8',
  });
  if (run.status !== 0) throw new Error(`The declarations cannot be formatted: ${run.stderr}`);
  const parts = run.stdout.split(/^\/\/ @@\d+\n/m).slice(1);
  for (const [index, item] of items.entries()) item.code = parts[index].trim();
}

function render(page, world) {
  const { name, about, items, elsewhere } = page;
  const parts = [NOTICE, `# ${name}`, prose(about)];
  if (elsewhere.length > 0) parts.push(`Also exported: ${elsewhere.map((symbol) => link(symbol, page, world)).join(', ')}.`);
  const imports = importsOf(page, world);
  if (imports) parts.push('Types from elsewhere:', fence(imports));
  for (const [title, members] of sectionsOf(items)) {
    parts.push(`## ${title}`);
    for (const item of members) parts.push(...renderItem(item, page, world));
  }
  return `${parts.filter(Boolean).join('\n\n')}\n`;
}

function sectionsOf(items) {
  const titleOf = ({ hidden, isFunction, file }) =>
    hidden ? UNEXPORTED : isFunction ? 'Functions' : (SECTIONS.find(([, files]) => files.test(file))?.[0] ?? 'Types');
  const order = ['Functions', 'Types', ...SECTIONS.map(([title]) => title), UNEXPORTED];
  return order.map((title) => [title, items.filter((item) => titleOf(item) === title)]).filter(([, found]) => found.length > 0);
}

function renderItem({ name, comment, code, refers }, page, world) {
  const others = [...refers].map((symbol) => link(symbol, page, world));
  return [`### ${name}`, prose(comment), fence(code), others.length > 0 ? `See ${others.join(', ')}.` : ''];
}

function link(symbol, page, { homes }) {
  const home = homes.get(symbol)?.page ?? page.file;
  return `[${symbol.name}](${home === page.file ? '' : home}#${symbol.name.toLowerCase()})`;
}

/** As a reader would write them. */
function importsOf({ file, items }, { homes }) {
  const from = new Map();
  const add = (module, name) => from.set(module, (from.get(module) ?? new Set()).add(name));
  for (const { refers, packages } of items) {
    for (const [name, module] of packages) add(module, name);
    for (const symbol of refers) {
      const home = homes.get(symbol);
      if (home && home.page !== file) add(home.module, symbol.name);
    }
  }
  const lines = [...from].sort().map(([module, names]) => `import type { ${[...names].sort().join(', ')} } from '${module}';`);
  return lines.join('\n');
}

const fence = (code) => `\`\`\`ts\n${code}\n\`\`\``;

/** Markdown of a comment: what would be a tag is text, and what is thrown stands apart. */
function prose(comment) {
  const parts = comment.split(/(`[^`]*`)/);
  const safe = parts.map((part, index) => (index % 2 === 0 ? part.replaceAll('<', '&lt;') : part)).join('');
  return safe.replace(/\s*@throws\s+/g, '\n\nThrows ').trim();
}

function renderIndex(pages) {
  const parts = [
    NOTICE,
    '# API reference',
    'One page for each entry of the package. The comments in a block are about what follows them.',
  ];
  for (const { name, file, about, items } of pages) {
    const names = items.filter(({ hidden }) => !hidden).map((item) => `[${item.name}](${file}#${item.name.toLowerCase()})`);
    parts.push(`## [${name}](${file})`, prose(about), names.join(', '));
  }
  return `${parts.join('\n\n')}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const types = join(mkdtempSync(join(tmpdir(), 'sluice-docs-')), 'types');
  try {
    emitDeclarations(types);
    rmSync(outDir, { recursive: true, force: true });
    mkdirSync(outDir, { recursive: true });
    for (const [name, text] of referencePages(types)) writeFileSync(join(outDir, name), text);
  } finally {
    rmSync(join(types, '..'), { recursive: true });
  }
}
