/** What the visitor may set. An unset field stays out of the request, so the model's own default holds. Pure but for `storage`. */
import type { ChatRequest, ContextOverflow, EngineConfig, KvDtype } from '../src/api';
import { type ModelChoice, type Parsed, parseHubId } from './model_choice';

export type NumberField = 'temperature' | 'topP' | 'topK' | 'presencePenalty' | 'maxTokens' | 'seed' | 'contextTokens';
/** `gpuBudget` in bytes. */
export type Settings = Partial<Record<NumberField, number>> & {
  kv?: KvDtype;
  gpuBudget?: number;
  contextOverflow?: ContextOverflow;
  /** Models that can think do so before they answer. */
  thinking?: true;
  /** Instructions that every conversation begins with. */
  system?: string;
};
export type Theme = 'auto' | 'light' | 'dark';

type Range = { min: number; max: number; integer: boolean; above?: boolean };

/** Characters of a system prompt. */
export const MOST_SYSTEM = 20_000;

/** `above`: min itself is outside. */
export const RANGES: Record<NumberField, Range> = {
  temperature: { min: 0, max: 2, integer: false },
  topP: { min: 0, max: 1, integer: false, above: true },
  topK: { min: 0, max: 100_000, integer: true },
  presencePenalty: { min: -2, max: 2, integer: false },
  maxTokens: { min: 1, max: 1_000_000, integer: true },
  seed: { min: 0, max: 4_294_967_295, integer: true },
  contextTokens: { min: 64, max: 1_000_000, integer: true },
};

/** An empty text is no value: the model's default. */
export function parseNumber(field: NumberField, text: string): Parsed<number | undefined> {
  if (text.trim() === '') return { value: undefined };
  const value = Number(text);
  return inRange(field, value) ? { value } : { message: `Between ${describeRange(RANGES[field])}.` };
}

function inRange(field: NumberField, value: number): boolean {
  const { min, max, integer, above } = RANGES[field];
  return (
    Number.isFinite(value) && value >= min && value <= max && !(above && value === min) && !(integer && !Number.isInteger(value))
  );
}

function describeRange({ min, max, integer, above }: Range): string {
  const bounds = `${min.toLocaleString('en')} and ${max.toLocaleString('en')}`;
  return bounds + (integer ? ', in whole numbers' : '') + (above ? `, but not ${min}` : '');
}

export function samplingOf({
  temperature,
  topP,
  topK,
  presencePenalty,
  maxTokens,
  seed,
  thinking,
}: Settings): Partial<ChatRequest> {
  const kwargs = thinking ? { enable_thinking: true } : undefined;
  const drawing = { temperature, top_p: topP, top_k: topK, presence_penalty: presencePenalty, seed };
  return withoutUndefined({ ...drawing, max_tokens: maxTokens, chat_template_kwargs: kwargs });
}

export function engineConfigOf({ contextTokens, kv, gpuBudget, contextOverflow }: Settings): EngineConfig {
  return withoutUndefined({ contextTokens, kv, gpuBudget, contextOverflow });
}

/** Whether a load with `next` would be another engine. */
export function differs(next: EngineConfig, running: EngineConfig): boolean {
  return (['contextTokens', 'kv', 'gpuBudget', 'contextOverflow'] as const).some((key) => next[key] !== running[key]);
}

function withoutUndefined<T extends object>(fields: T): Partial<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<T>;
}

/** Stored text is untrusted: another version of the page, or a person, may have written it. */
export function settingsFromJson(text: string | null): Settings {
  const stored = parseObject(text);
  const settings: Settings = {};
  for (const field of Object.keys(RANGES) as NumberField[]) {
    const value = stored[field];
    if (typeof value === 'number' && inRange(field, value)) settings[field] = value;
  }
  if (stored.kv === 'f16' || stored.kv === 'f32') settings.kv = stored.kv;
  if (stored.thinking === true) settings.thinking = true;
  if (typeof stored.system === 'string' && stored.system.length <= MOST_SYSTEM) settings.system = stored.system;
  const { gpuBudget, contextOverflow } = stored;
  if (typeof gpuBudget === 'number' && Number.isSafeInteger(gpuBudget) && gpuBudget > 0) settings.gpuBudget = gpuBudget;
  if (contextOverflow === 'truncate' || contextOverflow === 'error') settings.contextOverflow = contextOverflow;
  return settings;
}

function parseObject(text: string | null): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text ?? '{}');
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch (error) {
    if (error instanceof SyntaxError) return {};
    throw error;
  }
}

const SETTINGS_KEY = 'sluice.settings';
const THEME_KEY = 'sluice.theme';
const MODEL_KEY = 'sluice.model';
const OPEN_KEY = 'sluice.open';

export function loadSettings(): Settings {
  return settingsFromJson(readItem(SETTINGS_KEY));
}

export function saveSettings(settings: Settings): void {
  writeItem(SETTINGS_KEY, Object.keys(settings).length === 0 ? null : JSON.stringify(settings));
}

export function loadTheme(): Theme {
  const theme = readItem(THEME_KEY);
  return theme === 'light' || theme === 'dark' ? theme : 'auto';
}

export function saveTheme(theme: Theme): void {
  writeItem(THEME_KEY, theme === 'auto' ? null : theme);
}

/** The hub model to go on with when the page is opened again, be its download complete or not. The access token is never kept. */
export function loadHubChoice(): ModelChoice | undefined {
  const id = parseHubId(readItem(MODEL_KEY) ?? '');
  return 'value' in id ? { kind: 'hub', id: id.value } : undefined;
}

export function saveHubChoice(choice: ModelChoice | undefined): void {
  writeItem(MODEL_KEY, choice?.kind === 'hub' ? choice.id : null);
}

/** The conversation that this tab had open last (`own`); a new tab begins with that of the last one. */
export function loadOpenId(): { id: string; own: boolean } | undefined {
  const own = readItem(OPEN_KEY, () => sessionStorage);
  const id = own ?? readItem(OPEN_KEY);
  return id ? { id, own: own !== null } : undefined;
}

export function saveOpenId(id: string | undefined): void {
  writeItem(OPEN_KEY, id ?? '', () => sessionStorage); // none is a choice, too
  writeItem(OPEN_KEY, id ?? null);
}

/** Storage may be switched off (SecurityError) or full (QuotaExceededError): the page then works without a memory. */
export function readItem(key: string, storage = () => localStorage): string | null {
  try {
    return storage().getItem(key);
  } catch (error) {
    if (error instanceof DOMException) return null;
    throw error;
  }
}

export function writeItem(key: string, value: string | null, storage = () => localStorage): void {
  try {
    if (value === null) storage().removeItem(key);
    else storage().setItem(key, value);
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
  }
}
