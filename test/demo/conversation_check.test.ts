/** Imported and stored conversations come from anywhere: what is taken, and what is refused with which words. */
import { expect, test } from 'vitest';
import type { Conversation } from '../../demo/conversation';
import { CheckError, conversationFrom, exportText, importText } from '../../demo/conversation_check';
import { conversationOf, search, summaryOf } from '../../demo/conversation_store';

const conversation: Conversation = {
  id: 'a1',
  title: 'Foxes',
  createdAt: 1,
  updatedAt: 2,
  turns: [
    { parent: -1, role: 'user', text: 'Tell me', attachments: [{ name: 'a.txt', text: 'fox' }] },
    { parent: 0, role: 'assistant', text: 'No', thoughts: 'Hm', calls: [{ name: 'look', arguments: '{}' }], end: 'stop' },
    { parent: 0, role: 'assistant', text: 'Yes', end: 'stop' },
  ],
  leaf: 2,
};

test('what is exported is imported as it was', () => expect(importText(exportText([conversation]))).toEqual([conversation]));

const withTurns = (turns: unknown[], leaf = 0) => ({ ...conversation, turns, leaf });
const user = { parent: -1, role: 'user', text: 'a' };

test.each([
  { text: 'no json', words: 'not JSON' },
  { text: 'null', words: 'not an object' },
  { text: '{"format":"other","version":1,"conversations":[]}', words: 'no file of conversations' },
  { text: '{"format":"sluice.conversations","version":2,"conversations":[]}', words: 'newer version' },
  { text: '{"format":"sluice.conversations","version":1,"conversations":{"length":1}}', words: 'conversations is not a list' },
])('a file $text is refused: $words', ({ text, words }) => {
  expect(() => importText(text)).toThrow(words);
});

test.each([
  { value: { ...conversation, id: 7 }, words: 'id is not text' },
  { value: { ...conversation, title: 'x'.repeat(501) }, words: 'title has 501 characters' },
  { value: { ...conversation, updatedAt: Number.NaN }, words: 'updatedAt is not a whole number' },
  { value: withTurns([user], 1), words: 'leaf is not a whole number from 0 to 0' },
  { value: withTurns([], 0), words: 'leaf is not a whole number from -1 to -1' },
  { value: withTurns([{ ...user, role: 'system' }]), words: 'role is neither' },
  { value: withTurns([{ ...user, parent: 0 }]), words: 'parent is not a whole number from -1 to -1' },
  { value: withTurns([user, { ...user, parent: 0 }]), words: 'does not answer' },
  { value: withTurns([{ ...user, role: 'assistant' }]), words: 'does not answer' },
  { value: withTurns([{ ...user, text: { toString: 1 } }]), words: 'text is not text' },
  { value: withTurns([{ ...user, attachments: [{ name: 'a' }] }]), words: 'attachments[0].text is not text' },
  { value: withTurns([{ ...user, attachments: new Array(9).fill({ name: 'a', text: '' }) }]), words: '9 entries' },
  { value: withTurns([user, { parent: 0, role: 'assistant', text: '', end: 'soon' }], 1), words: 'end is not a way' },
  { value: withTurns([user, { parent: 0, role: 'assistant', text: '', calls: ['x'] }], 1), words: 'calls[0] is not an object' },
])('$words', ({ value, words }) => {
  expect(() => conversationFrom(value)).toThrow(CheckError);
  expect(() => conversationFrom(value)).toThrow(words);
});

test('fields that nobody knows are left out, and names lose what turns the direction of text', () => {
  const taken = conversationFrom({ ...conversation, title: 'a\u202eb', __proto__: { x: 1 }, extra: 1 });
  expect(taken).toEqual({ ...conversation, title: 'ab' });
});

test('a reply that was cut off comes back from the journal; one that had ended does not', () => {
  const cutOff = structuredClone(conversation);
  cutOff.turns[2] = { parent: 0, role: 'assistant', text: '', end: 'cut-off' };
  const journal = { index: 2, turn: { parent: 0, role: 'assistant', text: 'Ye', end: 'cut-off' } };
  expect(conversationOf(cutOff, journal)?.turns[2]?.text).toBe('Ye');
  expect(conversationOf(conversation, journal)?.turns[2]?.text).toBe('Yes');
  expect(conversationOf(cutOff, { index: 9, turn: 1 })).toEqual(cutOff);
  expect(conversationOf(cutOff, { index: 2, turn: null })).toBeUndefined();
  expect(conversationOf(undefined, journal)).toBeUndefined();
});

test('every word of a search must be in the title or in what was said', () => {
  const summaries = [summaryOf(conversation), summaryOf({ ...conversation, id: 'b', title: 'Boats', turns: [] })];
  expect(search(summaries, 'FOX tell').map(({ id }) => id)).toEqual(['a1']);
  expect(search(summaries, ' ').length).toBe(2);
  expect(search(summaries, 'fox boats')).toEqual([]);
});
