/** Markdown as markdown-it reads it, with maths. HTML stays text; what may become a link is decided in links.ts. Pure. */
import MarkdownIt, { type Token } from 'markdown-it';
import { isSafeLink } from './links';
import { addMaths } from './math_rules';

export type { Token };

/** Quotes and lists within each other beyond this are shown as they were written. */
const MOST_NESTED = 16;

/** Link references that a message has defined so far; a fresh one for each message. */
export type Definitions = NonNullable<Parameters<typeof parser.parse>[1]>;

const parser = new MarkdownIt({ html: false, linkify: true, breaks: true, maxNesting: MOST_NESTED });
parser.linkify.set({ fuzzyLink: false, fuzzyEmail: false, fuzzyIP: false });
// markdown-it refuses dangerous schemes only. What is no link here is shown as it was written.
parser.validateLink = isSafeLink;
addMaths(parser);

/** One block at the top level, with everything in it. */
export type Block = {
  tokens: Token[];
  /** Lines of the source that it begins and ends at. */
  lines: [number, number];
  /** Nested beyond what is parsed: part of it is missing in `tokens`. */
  tooDeep: boolean;
  /** Tokens, those of lines among them: about what showing it costs. */
  weight: number;
};

export function parseBlocks(source: string, definitions: Definitions): Block[] {
  const blocks: Block[] = [];
  let tokens: Token[] = [];
  for (const token of parser.parse(source, definitions)) {
    tokens.push(token);
    if (token.level > 0 || token.nesting === 1) continue;
    const [first] = tokens;
    const tooDeep = tokens.some(({ level }) => level >= MOST_NESTED - 1);
    blocks.push({ tokens, lines: first!.map ?? [0, 0], tooDeep, weight: weightOf(tokens) });
    tokens = [];
  }
  return blocks;
}

function weightOf(tokens: readonly Token[]): number {
  return tokens.reduce((sum, { children }) => sum + 1 + weightOf(children ?? []), 0);
}
