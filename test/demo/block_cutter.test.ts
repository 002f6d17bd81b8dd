/** A reply cut into blocks as it streams: the same blocks whatever the pieces, and never much to parse at once. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BlockCutter, MOST_OPEN, MOST_TAKEN, MOST_WEIGHT, type Piece } from '../../demo/markdown/block_cutter';

const SAMPLE = [
  '# Title\nA paragraph with *words*\nand a second line.\n\nAnother one.\n===\n',
  '- one\n- two\n\n  still two\n\n1. first\n#tag\n2. second\n\n',
  '> quote\nlazy\n\n```js\nconst a = 1;\n\n# no heading\n```\nbehind\n\n',
  '| a | b |\n|---|---|\n| 1 | 2 |\n\n$$\nx^2\n$$\n\n\\[ y \\]\n\n[a][1]\n\n[1]: https://example.com\n\n---\nend',
].join('');

/** What a piece says, without where in its source it lay. */
function gist(piece: Piece): unknown {
  if (piece.kind !== 'block') return piece;
  return piece.block.tokens.map(({ type, tag, content, info, markup }) => ({ type, tag, content, info, markup }));
}

function stream(pieces: readonly string[]): unknown[] {
  const cutter = new BlockCutter();
  const finished = pieces.flatMap((piece) => cutter.add(piece, false).finished);
  const { finished: rest, open } = cutter.add('', true);
  expect(open).toEqual([]);
  return [...finished, ...rest].map(gist);
}

test('any way of cutting the text gives the same blocks', () => {
  const whole = stream([SAMPLE]);
  expect(whole.length).toBeGreaterThan(12);
  const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 400, maxLength: 400 });
  fc.assert(
    fc.property(sizes, (lengths) => {
      const pieces: string[] = [];
      for (let at = 0, i = 0; at < SAMPLE.length; at += lengths[i++]!) pieces.push(SAMPLE.slice(at, at + lengths[i]!));
      expect(stream(pieces)).toEqual(whole);
    }),
    { numRuns: 60 },
  );
});

test('a finished block is given once, as soon as the next one has begun', () => {
  const cutter = new BlockCutter();
  expect(cutter.add('one\n\ntw', false)).toMatchObject({ finished: [], open: [{ kind: 'block' }, { kind: 'block' }] });
  const { finished, open } = cutter.add('o\n', false);
  expect(finished.map(gist)).toMatchObject([[{ type: 'paragraph_open' }, { content: 'one' }, {}]]);
  expect(open).toHaveLength(1);
});

test('a line that may yet belong to the list before does not end it', () => {
  const cutter = new BlockCutter();
  expect(cutter.add('- a\n#', false).finished).toEqual([]); // '#' alone would be a heading; '#tag' is the item's second line
  expect(cutter.add('tag\n', false).finished).toEqual([]);
});

const long = 200_000;
test.each([
  { why: 'one line', text: 'a'.repeat(long) },
  { why: 'one list', text: '- item\n'.repeat(long / 7) },
  { why: 'one block of code', text: `\`\`\`js\n${'let a = 1;\n'.repeat(long / 11)}\`\`\`\nend` },
  { why: 'code of one line', text: `\`\`\`js\n${'a'.repeat(long)}\n\`\`\`\nend` },
  { why: 'brackets', text: '['.repeat(long) },
  { why: 'paragraphs', text: 'a\n\n'.repeat(long / 3) },
])('much of $why: no character is lost, and little is open at a time', ({ text }) => {
  const cutter = new BlockCutter();
  let characters = 0;
  const count = (pieces: Piece[]) => {
    for (const piece of pieces) characters += JSON.stringify(gist(piece)).replace(/[^a-z[]/g, '').length;
  };
  for (let at = 0; at < text.length; at += MOST_TAKEN) {
    const { finished, open } = cutter.add(text.slice(at, at + MOST_TAKEN), false);
    count(finished);
    const openText = open.map((piece) => (piece.kind === 'block' ? piece.block.lines[1] : piece.text.length));
    expect(Math.max(0, ...openText)).toBeLessThanOrEqual(MOST_OPEN + MOST_TAKEN);
  }
  count(cutter.add('', true).finished);
  expect(characters).toBeGreaterThanOrEqual(text.replace(/[^a-z[]/g, '').length);
});

test.each([
  { why: 'a list', text: '- item *x*\n', before: '' },
  { why: 'a table', text: '|`x`|**y**|\n', before: '|a|b|\n|-|-|\n' },
  { why: 'a line of stars', text: '*a* **b** ', before: '' },
])('of $why, whose every word is an element, less is open than of prose', ({ text, before }) => {
  const cutter = new BlockCutter();
  const whole = before + text.repeat(2000);
  let most = 0;
  for (let at = 0; at < whole.length; at += MOST_TAKEN) {
    const { open } = cutter.add(whole.slice(at, at + MOST_TAKEN), false);
    most = Math.max(most, ...open.map((piece) => (piece.kind === 'block' ? piece.block.weight : 0)));
  }
  expect(most).toBeLessThanOrEqual(MOST_WEIGHT);
  expect(most).toBeGreaterThan(MOST_WEIGHT / 2);
});

test.each(['let a = 1;', 'let a = 1;\n'])('long code that ends without a fence has its own lines and no other: %j', (end) => {
  const cutter = new BlockCutter();
  const code = `${'let b = 2;\n'.repeat(400)}${end}`;
  const text = `\`\`\`js\n${code}`;
  const pieces: Piece[] = [];
  for (let at = 0; at < text.length; at += MOST_TAKEN)
    pieces.push(...cutter.add(text.slice(at, at + MOST_TAKEN), false).finished);
  pieces.push(...cutter.add('', true).finished);
  const said = pieces.map((piece) => (piece.kind === 'block' ? piece.block.tokens[0]!.content : piece.text));
  expect(pieces.length).toBeGreaterThan(2);
  expect(said.join('')).toBe(`${code.trimEnd()}\n`);
  expect(cutter.add('', true)).toEqual({ finished: [], open: [] }); // a reply may be ended twice
});

test('a long table goes on under its head, a long list as a list, a long line as words', () => {
  const types = (text: string) => {
    const cutter = new BlockCutter();
    const pieces: Piece[] = [];
    for (let at = 0; at < text.length; at += MOST_TAKEN)
      pieces.push(...cutter.add(text.slice(at, at + MOST_TAKEN), false).finished);
    pieces.push(...cutter.add('', true).finished);
    return new Set(pieces.map((piece) => (piece.kind === 'block' ? piece.block.tokens[0]?.type : piece.kind)));
  };
  expect(types(`| a | b |\n|---|---|\n${'| 1 | 2 |\n'.repeat(2000)}`)).toEqual(new Set(['table_open']));
  expect(types('- item\n'.repeat(2000))).toEqual(new Set(['bullet_list_open']));
  expect(types('word '.repeat(4000))).toEqual(new Set(['paragraph_open']));
});

test('10,000 nested quotes stay text', () => {
  const text = `${'>'.repeat(10_000)} end`;
  const cutter = new BlockCutter();
  const finished: Piece[] = [];
  for (let at = 0; at < text.length; at += MOST_TAKEN)
    finished.push(...cutter.add(text.slice(at, at + MOST_TAKEN), false).finished);
  finished.push(...cutter.add('', true).finished);
  expect(finished.map((piece) => (piece.kind === 'plain' ? piece.text : piece.kind)).join('')).toBe(text);
});
