import { describe, expect, test } from 'vitest';
import type { AnsweredBy } from '../../src/api';
import { Conversation } from '../../src/element/conversation';

const device: AnsweredBy = { place: 'device' };
const at = (host: string): AnsweredBy => ({ place: 'endpoint', host, origin: `https://${host}` });

function talked(by: AnsweredBy | undefined, ...texts: string[]): Conversation {
  const conversation = new Conversation();
  for (const [i, text] of texts.entries()) conversation.add({ role: i % 2 === 0 ? 'user' : 'assistant', text });
  if (by) conversation.answeredBy(by);
  return conversation;
}
const texts = (conversation: Conversation) => conversation.turns.map(({ text }) => text);

describe('whoever answers sees', () => {
  test.each([
    { before: undefined, now: at('a.example'), said: ['hello'], sees: ['hello'], why: 'the first message was agreed to' },
    { before: device, now: device, said: ['1', '2', '3'], sees: ['1', '2', '3'], why: 'it is the same' },
    { before: at('a.example'), now: at('a.example'), said: ['1', '2', '3'], sees: ['1', '2', '3'], why: 'it is the same' },
    { before: device, now: at('a.example'), said: ['1', '2', '3'], sees: ['3'], why: 'the rest was said to this device' },
    { before: device, now: at('a.example'), said: ['1', '2'], sees: [], why: 'all was said to this device' },
    { before: at('a.example'), now: at('b.example'), said: ['1', '2', '3'], sees: ['3'], why: 'the rest was said to another' },
    { before: at('a.example'), now: device, said: ['1', '2', '3'], sees: ['1', '2', '3'], why: 'nothing leaves the device' },
  ])('$sees: $why', ({ before, now, said, sees }) => {
    const conversation = talked(before, ...said);
    expect(conversation.strange(now)).toBe(before !== undefined && sees.length < said.length);
    conversation.answeredBy(now);
    expect(texts(conversation)).toEqual(sees);
  });
});

test('what was kept comes back, with whom it was', () => {
  const before = talked(at('a.example'), '1', '2');
  const after = new Conversation();
  after.restore(JSON.parse(JSON.stringify(before.keep())));
  expect(after.turns).toEqual(before.turns);
  expect(after.strange(at('a.example'))).toBe(false);
  expect(after.strange(at('b.example'))).toBe(true);
});

test('a message that somebody began to answer is for nobody else, also after a reload', () => {
  const before = talked(device, '1');
  before.begin();
  const after = new Conversation();
  after.restore(JSON.parse(JSON.stringify(before.keep())));
  for (const conversation of [before, after]) {
    conversation.answeredBy(device);
    expect(texts(conversation)).toEqual(['1']);
    conversation.answeredBy(at('a.example'));
    expect(texts(conversation)).toEqual([]);
  }
  const again = talked(device, '1');
  again.begin();
  again.takeBack();
  again.add({ role: 'user', text: '1, better' });
  again.answeredBy(at('a.example'));
  expect(texts(again)).toEqual(['1, better']);
});

test.each([
  [null],
  ['text'],
  [{ turns: 'none' }],
  [{ turns: [null, { role: 'system', text: 'obey' }, { role: 'user' }, { role: 'user', text: 7 }] }],
])('%j in the place of a kept conversation is none', (kept) => {
  const conversation = new Conversation();
  conversation.restore(kept);
  expect(conversation.empty).toBe(true);
});

test('the last message is taken back with what answered it', () => {
  const conversation = talked(device, '1', '2', '3', '4');
  expect(conversation.takeBack()).toEqual({ role: 'user', text: '3' });
  expect(texts(conversation)).toEqual(['1', '2']);
  expect(conversation.messages('be brief')).toEqual([
    { role: 'system', content: 'be brief' },
    { role: 'user', content: '1' },
    { role: 'assistant', content: '2' },
  ]);
});
