import { expect, test } from 'vitest';
import { expertsText, hitShares } from '../../demo/expert_picture';

test('shares by layer, and none where nothing was chosen', () => {
  expect(hitShares({ hits: [3, 0, 0], misses: [1, 2, 0] })).toEqual([0.75, 0, undefined]);
});

test('the words say what the picture shows', () => {
  expect(expertsText({ hits: [980, 740, 900], misses: [20, 260, 100] })).toBe(
    'Of 3,000 choices 87 % found their expert in GPU memory. Fewest: layer 1, 74 %. Most: layer 0, 98 %.',
  );
  expect(expertsText({ hits: [0], misses: [0] })).toBe('No token has chosen an expert yet.');
});
