import { expect, test } from 'vitest';
import { branchesAt, LiveRate, newestLeaf, pathOf, type Turn, titleOf, toMessages } from '../../demo/conversation';

test('a reply without a word is not sent back to the model', () => {
  const turns: Turn[] = [
    { parent: -1, role: 'user', text: 'Hello' },
    { parent: 0, role: 'assistant', text: '' },
    { parent: 1, role: 'user', text: 'Again' },
  ];
  expect(toMessages(turns)).toEqual([
    { role: 'user', content: 'Hello' },
    { role: 'user', content: 'Again' },
  ]);
});

test('the live rate leaves the first token to prefill and waits for a few more', () => {
  const live = new LiveRate();
  expect([0, 100, 200, 300, 400].map((ms) => live.add(1000 + ms))).toEqual([
    undefined,
    undefined,
    undefined,
    { tokens: 3, ms: 300 },
    { tokens: 4, ms: 400 },
  ]);
});

/** Two versions of the second question; the first version has two replies. */
const tree: Turn[] = [
  { parent: -1, role: 'user', text: 'a' },
  { parent: 0, role: 'assistant', text: 'b' },
  { parent: 1, role: 'user', text: 'c' },
  { parent: 2, role: 'assistant', text: 'd' },
  { parent: 1, role: 'user', text: 'c2' },
  { parent: 4, role: 'assistant', text: 'e' },
  { parent: 2, role: 'assistant', text: 'd2' },
];

test('a branch is the way from its leaf to the first turn', () => {
  expect(pathOf({ turns: tree, leaf: 5 })).toEqual([0, 1, 4, 5]);
  expect(pathOf({ turns: [], leaf: -1 })).toEqual([]);
});

test('versions stand beside each other; going to one shows its newest end', () => {
  expect(branchesAt({ turns: tree }, 4)).toEqual([2, 4]);
  expect(branchesAt({ turns: tree }, 6)).toEqual([3, 6]);
  expect(newestLeaf({ turns: tree }, 2)).toBe(6);
  expect(newestLeaf({ turns: tree }, 0)).toBe(5);
});

test('a system prompt comes first, and files behind their message, in fences that they cannot close', () => {
  const turns: Turn[] = [{ parent: -1, role: 'user', text: 'Read', attachments: [{ name: 'a.md', text: '```js\n1\n```\n' }] }];
  expect(toMessages(turns, ' Be brief. ')).toEqual([
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'Read\n\nFile: a.md\n````\n```js\n1\n```\n````' },
  ]);
});

test.each([
  { text: '  Hello\nworld', title: 'Hello', why: 'the first line' },
  { text: 'a  b\tc', title: 'a b c', why: 'spaces made one' },
  { text: 'x'.repeat(80), title: `${'x'.repeat(59)}…`, why: 'a long one cut' },
  { text: '', title: 'notes.txt', why: 'a file alone' },
])('a conversation is called $title: $why', ({ text, title }) => {
  expect(titleOf({ text, attachments: [{ name: 'notes.txt', text: '' }] })).toBe(title);
});
