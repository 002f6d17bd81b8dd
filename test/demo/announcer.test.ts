/** What a screen reader is told of a load: at most every tenth of it, and of the next load again. */
import { expect, test } from 'vitest';
import { Announcer } from '../../demo/announcer';
import type { LoadProgress } from '../../src/api';

function heard() {
  const words: string[] = [];
  const region = {
    set textContent(text: string) {
      words.push(text);
    },
    get textContent() {
      return words.at(-1) ?? '';
    },
  };
  return { words, announcer: new Announcer(region as HTMLElement) };
}

test('progress is told at most every 10 %, however often and in whatever steps it comes', () => {
  const { words, announcer } = heard();
  const at = (progress: number) => announcer.progress({ progress } as LoadProgress);
  announcer.startProgress('Loading a model');
  for (let i = 0; i <= 1000; i++) at(i / 1000);
  expect(words).toEqual(['Loading a model', ...[10, 20, 30, 40, 50, 60, 70, 80, 90].map((share) => `Loading: ${share} %`)]);
  announcer.startProgress('Loading another one');
  for (const progress of [0.05, 0.47, 0.49, 0.5, 0.2, 1]) at(progress);
  expect(words.slice(10)).toEqual(['Loading another one', 'Loading: 40 %', 'Loading: 50 %']);
});

test('the same words twice are a change, or they would not be read', () => {
  const { words, announcer } = heard();
  for (let i = 0; i < 3; i++) announcer.say('Copied');
  expect(words.map((text) => text.trim())).toEqual(['Copied', 'Copied', 'Copied']);
  expect(words[0] !== words[1] && words[1] !== words[2]).toBe(true);
});
