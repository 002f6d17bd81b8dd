import { expect, test } from 'vitest';
import { keptChatFrom } from '../../demo/history';

const turns = [
  { role: 'user', text: 'Hello' },
  { role: 'assistant', text: 'Hi' },
];

test('what this page keeps is read again', () => {
  expect(keptChatFrom({ turns, cutOff: true })).toEqual({ turns, cutOff: true });
});

test.each([
  { value: undefined, why: 'nothing' },
  { value: 'text', why: 'no object' },
  { value: { turns: [], cutOff: false }, why: 'no turns' },
  { value: { turns, cutOff: 'yes' }, why: 'no answer to whether it was cut off' },
  { value: { turns: turns.slice(1), cutOff: false }, why: 'a reply to nothing' },
  { value: { turns: [...turns, turns[0]], cutOff: false }, why: 'a message without a reply' },
  { value: { turns: [turns[0], { role: 'assistant' }], cutOff: false }, why: 'a reply without text' },
  { value: { turns: [null, null], cutOff: false }, why: 'turns that are none' },
])('$why is nothing to bring back', ({ value }) => {
  expect(keptChatFrom(value)).toBeUndefined();
});
