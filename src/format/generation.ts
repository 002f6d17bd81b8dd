/** `generation_config.json`: the sampling that the model's authors recommend, and its stop ids. */
import { JsonObject } from './json_object';

/** Absent keys are undefined; nothing is filled in here. */
export type GenerationDefaults = {
  temperature?: number;
  topP?: number;
  topK?: number;
  minP?: number;
  repetitionPenalty?: number;
  doSample?: boolean;
  eosTokenIds: number[];
};

/** @throws EngineError 'format' naming the key. */
export function parseGenerationConfig(text: string): GenerationDefaults {
  const json = JsonObject.parse(text, 'generation_config.json');
  const defaults: GenerationDefaults = { eosTokenIds: [...new Set(json.tokenIds('eos_token_id'))] };
  const set = <K extends keyof GenerationDefaults>(key: K, value: GenerationDefaults[K] | undefined) => {
    if (value !== undefined) defaults[key] = value;
  };
  const fraction = (key: string) => (json.value(key) === 0 ? 0 : json.number(key, { above: 0, max: 1 }));
  set('temperature', json.value('temperature') === 0 ? 0 : json.number('temperature', { above: 0, max: 100 }));
  set('topP', fraction('top_p'));
  set('topK', json.integer('top_k', { min: 0, max: 2 ** 31 - 1 }));
  set('minP', fraction('min_p'));
  set('repetitionPenalty', json.number('repetition_penalty', { above: 0, max: 100 }));
  set('doSample', json.boolean('do_sample'));
  return defaults;
}
