import { expect, test } from 'vitest';
import { CATALOGUE, choiceOfEntry, modelCard, pinText } from '../../demo/catalogue';
import { modelLabel, parseHubId } from '../../demo/model_choice';
import { changesFor, presetOf, presetsFor } from '../../demo/presets';
import { RANGES, settingsFromJson } from '../../demo/settings';

const hub = (id: string) => ({ kind: 'hub', id }) as const;

test.each([
  { id: 'Qwen/Qwen3.5-0.8B', chat: 1, why: 'the small ones' },
  { id: 'mlx-community/Qwen3.5-2B-MLX-4bit', chat: 1, why: 'the small ones, quantised' },
  { id: 'mlx-community/Qwen3.5-27B-4bit', chat: 0.7, why: '27B is not 2B…' },
  { id: 'Qwen/Qwen3.5-122B-A10B', chat: 0.7, why: '…nor is 122B' },
  { id: 'Qwen/Qwen3.6-27B', chat: 0.7, why: 'the next generation' },
])('$id: $why', ({ id, chat }) => {
  expect(presetsFor(hub(id)).find((preset) => preset.id === 'chat')?.sampling.temperature).toBe(chat);
});

test('a model without a known card has no presets', () => {
  expect(presetsFor({ kind: 'bundled' })).toEqual([]);
  expect(presetsFor(hub('acme/tiny'))).toEqual([]);
});

test('every preset is within the ranges, is kept, and is found again', () => {
  for (const { id } of CATALOGUE)
    for (const preset of presetsFor(hub(id))) {
      const settings = settingsFromJson(JSON.stringify({ seed: 1, ...changesFor(preset) }));
      expect(presetOf(settings, presetsFor(hub(id)))).toBe(preset.id);
    }
  expect(presetOf({ seed: 1 }, [])).toBe('default');
  expect(presetOf({ temperature: 0.3 }, presetsFor(hub('Qwen/Qwen3.6-27B')))).toBe('own');
  expect(RANGES.presencePenalty).toMatchObject({ min: -2, max: 2 });
});

test('the catalogue names models by ids that can be loaded, and implies nothing', () => {
  for (const entry of CATALOGUE) {
    const choice = choiceOfEntry(entry);
    expect(parseHubId(choice.kind === 'hub' ? choice.id : '')).toHaveProperty('value');
    expect(entry.commit).toMatch(/^[0-9a-f]{40}$/);
    expect(choice).toEqual({ kind: 'hub', id: `${entry.id}@${entry.commit}` });
    expect(modelLabel(choice)).toBe(`${entry.id}@${entry.commit.slice(0, 8)}`);
    expect(pinText(entry)).toBe(`pinned to ${entry.commit.slice(0, 8)}`);
    expect(presetsFor(choice)).toEqual(presetsFor(hub(entry.id)));
    expect(URL.canParse(modelCard(entry.id))).toBe(true);
  }
  expect(modelCard('a/b@main')).toBe('https://huggingface.co/a/b');
});
