import { EngineError } from '../errors';

/** What Sluice reads of `tokenizer_config.json`. */
export type TokenizerConfig = {
  /** `bos_token`, `eos_token`, … as text; absent ones are left out, as transformers does for templates. */
  specialTokens: Record<string, string>;
  /** Templates by name; a single unnamed one is called 'default'. Empty where the checkpoint ships a separate file. */
  chatTemplates: ReadonlyMap<string, string>;
};

/** @throws EngineError 'format' on text that is not a JSON object or a field of the wrong type. */
export function parseTokenizerConfig(text: string | undefined): TokenizerConfig {
  const config = text === undefined ? {} : parseJsonObject(text, 'tokenizer_config.json');
  const specialTokens: Record<string, string> = {};
  for (const [key, value] of Object.entries(config)) {
    if (!/^[a-z]+_token$/.test(key)) continue;
    const content = isObject(value) ? value.content : value; // an older form wraps the text in an AddedToken
    if (typeof content === 'string') specialTokens[key] = content;
  }
  return { specialTokens, chatTemplates: readChatTemplates(config.chat_template) };
}

function readChatTemplates(value: unknown): Map<string, string> {
  if (value === undefined || value === null) return new Map();
  if (typeof value === 'string') return new Map([['default', value]]);
  const bad = new EngineError(
    'format',
    'tokenizer_config.json: chat_template must be a string or a list of { name, template }. Correct the file or delete the field.',
  );
  if (!Array.isArray(value)) throw bad;
  const templates = new Map<string, string>();
  for (const entry of value) {
    if (!isObject(entry) || typeof entry.name !== 'string' || typeof entry.template !== 'string') throw bad;
    templates.set(entry.name, entry.template);
  }
  return templates;
}

export function parseJsonObject(text: string, file: string): Record<string, unknown> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw new EngineError('format', `${file} is not valid JSON: ${describe(cause)}. Download it again.`, { cause });
  }
  if (!isObject(parsed)) throw new EngineError('format', `${file} must hold a JSON object. Download it again.`);
  return parsed;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** An error's message, short enough to show: templates and patterns can put any amount of text in it. */
export function describe(error: unknown): string {
  const text = error instanceof Error ? error.message || error.name : String(error);
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}

/** Whether the engine gave up on size or depth: V8 and JavaScriptCore throw RangeError, SpiderMonkey InternalError. */
export function isExhaustion(error: unknown): boolean {
  return error instanceof RangeError || (error instanceof Error && error.name === 'InternalError');
}
