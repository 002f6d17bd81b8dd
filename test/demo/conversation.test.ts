import { expect, test } from 'vitest';
import { LiveRate, toMessages } from '../../demo/conversation';

test('a reply without a word is not sent back to the model', () => {
  const turns = [
    { role: 'user', text: 'Hello' },
    { role: 'assistant', text: '' },
    { role: 'user', text: 'Again' },
  ] as const;
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
