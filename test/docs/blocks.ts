/**
 * The documents as the tests read them. What stands behind a code block's language says what is done with it, besides compiling:
 *   ts run     it is run in a browser as it stands, with the bundled model at /model/ of its origin
 *   html run   as the body of a page, with dist/lib at /sluice/ and the bundled model at /model/; its element must answer
 *   sh run     its lines are done in a folder that looks like the repository
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import MarkdownIt from 'markdown-it';

export const root = fileURLToPath(new URL('../..', import.meta.url));

export type Block = {
  /** 'docs/embed.md:12', the line where it begins. */
  at: string;
  file: string;
  language: string;
  run: boolean;
  text: string;
};

export type Document = {
  /** Relative to the repository. */
  file: string;
  blocks: Block[];
  links: string[];
  /** Texts in `code spans`. */
  spans: string[];
  /** What a heading can be reached by, as GitHub makes it. */
  anchors: string[];
};

const markdown = new MarkdownIt({ html: true });

/** README, docs/ and what else of prose lies in the repository. */
export const documents = (): Document[] =>
  [...markdownIn('', false), ...markdownIn('docs', true), ...markdownIn('demo/model', false)].map(read);

export const blocksOf = (files = documents()): Block[] => files.flatMap(({ blocks }) => blocks);

/** A page of the generated reference: its blocks are one module, cut in pieces. */
export const isReference = ({ file }: { file: string }): boolean => file.startsWith('docs/api/');

function markdownIn(folder: string, deep: boolean): string[] {
  return readdirSync(join(root, folder), { recursive: deep, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.md'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
    .sort();
}

function read(file: string): Document {
  return parse(file, readFileSync(join(root, file), 'utf8'));
}

export function parse(file: string, text: string): Document {
  const found: Document = { file, blocks: [], links: [], spans: [], anchors: [] };
  const tokens = markdown.parse(text, {});
  for (const [index, token] of tokens.entries()) {
    if (token.type === 'fence') {
      const [language = '', ...flags] = token.info.trim().split(/\s+/);
      found.blocks.push({ at: `${file}:${token.map![0] + 1}`, file, language, run: flags.includes('run'), text: token.content });
    }
    if (token.type === 'heading_open') found.anchors.push(anchorOf(tokens[index + 1]!.content, found.anchors));
    for (const child of token.children ?? []) {
      if (child.type === 'link_open') found.links.push(String(child.attrGet('href')));
      if (child.type === 'code_inline') found.spans.push(child.content);
    }
  }
  return found;
}

function anchorOf(heading: string, taken: readonly string[]): string {
  const words = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase();
  const anchor = words.replace(/[^\p{L}\p{N}\s_-]/gu, '').replaceAll(' ', '-');
  const copies = taken.filter((other) => other.replace(/-\d+$/, '') === anchor).length;
  return copies === 0 ? anchor : `${anchor}-${copies}`;
}
