/** Checks a request's fields before anything runs: a wrong one is an error that names it, never a silent default. */
import { EngineError } from '../errors';
import type { GenerationRequest, SamplingRequest } from '../protocol/chat';
import type { GenerateRequest, PromptInput } from '../protocol/engine';

type NumberRule = { least: number; most: number; integer?: boolean; aboveLeast?: boolean };

const samplingRules: Record<keyof SamplingRequest, NumberRule> = {
  temperature: { least: 0, most: 2 },
  top_p: { least: 0, most: 1, aboveLeast: true },
  top_k: { least: 0, most: 2 ** 31 - 1, integer: true },
  min_p: { least: 0, most: 1 },
  repetition_penalty: { least: 0.01, most: 100 },
  presence_penalty: { least: -2, most: 2 },
  frequency_penalty: { least: -2, most: 2 },
  seed: { least: -Number.MAX_SAFE_INTEGER, most: Number.MAX_SAFE_INTEGER, integer: true },
};
const lengthRule: NumberRule = { least: 1, most: 2 ** 31 - 1, integer: true };
const otherFields = ['max_tokens', 'max_completion_tokens', 'stop', 'signal', 'stream', 'stream_options', 'model'];

/** The worker's request from an OpenAI-shaped one. `own`: the fields that only this endpoint has. @throws EngineError 'invalid-request' */
export function toGenerateRequest(request: GenerationRequest, prompt: PromptInput, own: readonly string[]): GenerateRequest {
  for (const [field, value] of Object.entries(request)) {
    if (value === undefined) continue; // { tools: maybeTools } asks for nothing
    if (!(field in samplingRules) && !otherFields.includes(field) && !own.includes(field)) {
      throw new EngineError('invalid-request', `'${field}' is not a field that Sluice knows.`);
    }
  }
  const sampling: SamplingRequest = {};
  for (const [field, rule] of Object.entries(samplingRules) as [keyof SamplingRequest, NumberRule][]) {
    const value = checkNumber(field, request[field], rule);
    if (value !== undefined) sampling[field] = value;
  }
  const maxTokens =
    checkNumber('max_completion_tokens', request.max_completion_tokens, lengthRule) ??
    checkNumber('max_tokens', request.max_tokens, lengthRule);
  return { prompt, sampling, maxTokens, stop: checkStop(request.stop) };
}

/** @throws EngineError 'invalid-request' if a request is not an object at all. */
export function checkRequestObject(request: unknown): void {
  if (typeof request !== 'object' || request === null) throw new EngineError('invalid-request', 'A request must be an object.');
}

function checkNumber(field: string, value: unknown, { least, most, integer, aboveLeast }: NumberRule): number | undefined {
  if (value === undefined || value === null) return undefined;
  const fits =
    typeof value === 'number' &&
    value >= least &&
    value <= most &&
    (!aboveLeast || value > least) &&
    (!integer || Number.isInteger(value));
  if (!fits) {
    const range = `${integer ? 'a whole number' : 'a number'} ${aboveLeast ? 'above' : 'from'} ${least} ${aboveLeast ? 'and at most' : 'to'} ${most}`;
    throw new EngineError('invalid-request', `'${field}' must be ${range}; it is ${JSON.stringify(value)}.`);
  }
  return value;
}

function checkStop(stop: unknown): string[] {
  if (stop === undefined || stop === null) return [];
  const list = typeof stop === 'string' ? [stop] : stop;
  if (!Array.isArray(list) || list.length > 16 || list.some((text) => typeof text !== 'string' || text === '')) {
    throw new EngineError('invalid-request', "'stop' must be a non-empty string or a list of up to 16 of them.");
  }
  return list as string[];
}
