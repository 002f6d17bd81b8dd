/** Sampling as the model cards recommend it. What a card does not set stays unset, so that the checkpoint's own default holds. Pure. */
import { type ModelChoice, modelLabel } from './model_choice';
import type { Settings } from './settings';

/** Model cards that agree: Qwen3.5 up to 2B, Qwen3.5 from 4B, Qwen3.6 and 3.8. */
export type PresetFamily = 'qwen35-small' | 'qwen35' | 'qwen36';

type Sampling = Pick<Settings, 'temperature' | 'topP' | 'topK' | 'presencePenalty' | 'thinking'>;
export type Preset = { id: string; name: string; sampling: Sampling };

const thinking = { topP: 0.95, topK: 20, thinking: true } as const;

const PRESETS: Record<PresetFamily, Preset[]> = {
  'qwen35-small': [
    { id: 'chat', name: 'Chat, without thinking', sampling: { temperature: 1, topP: 1, topK: 20, presencePenalty: 2 } },
    { id: 'thinking', name: 'Thinking', sampling: { ...thinking, temperature: 1, presencePenalty: 1.5 } },
    { id: 'coding', name: 'Thinking, for code', sampling: { ...thinking, temperature: 0.6, presencePenalty: 0 } },
  ],
  qwen35: [
    { id: 'chat', name: 'Chat, without thinking', sampling: { temperature: 0.7, topP: 0.8, topK: 20, presencePenalty: 1.5 } },
    {
      id: 'reasoning',
      name: 'Reasoning, without thinking',
      sampling: { temperature: 1, topP: 0.95, topK: 20, presencePenalty: 1.5 },
    },
    { id: 'thinking', name: 'Thinking', sampling: { ...thinking, temperature: 1, presencePenalty: 1.5 } },
    { id: 'coding', name: 'Thinking, for precise code', sampling: { ...thinking, temperature: 0.6, presencePenalty: 0 } },
  ],
  qwen36: [
    { id: 'chat', name: 'Chat, without thinking', sampling: { temperature: 0.7, topP: 0.8, topK: 20, presencePenalty: 1.5 } },
    { id: 'thinking', name: 'Thinking', sampling: { ...thinking, temperature: 1, presencePenalty: 0 } },
    { id: 'coding', name: 'Thinking, for code', sampling: { ...thinking, temperature: 0.6, presencePenalty: 0 } },
  ],
};

/** Of the models whose card is known, by their name. */
export function presetsFor(choice: ModelChoice): Preset[] {
  const family = familyOf(modelLabel(choice).split('@', 1)[0]!);
  return family ? PRESETS[family] : [];
}

function familyOf(name: string): PresetFamily | undefined {
  if (/qwen3\.[68]/i.test(name)) return 'qwen36';
  if (!/qwen3\.5/i.test(name)) return undefined;
  return /(?:^|[^\d.])(?:0\.8|2)b\b/i.test(name) ? 'qwen35-small' : 'qwen35';
}

const KEYS = ['temperature', 'topP', 'topK', 'presencePenalty', 'thinking'] as const;

/** The preset that the settings are at the moment; 'default' where they set nothing, 'own' for everything else. */
export function presetOf(settings: Settings, presets: readonly Preset[]): string {
  if (KEYS.every((key) => settings[key] === undefined)) return 'default';
  return presets.find(({ sampling }) => KEYS.every((key) => sampling[key] === settings[key]))?.id ?? 'own';
}

/** Changes to the settings that make them this preset. */
export function changesFor(preset: Preset | undefined): Sampling {
  return Object.fromEntries(KEYS.map((key) => [key, preset?.sampling[key]]));
}
