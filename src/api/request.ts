/** Checks a request's fields before anything runs: a wrong one is an error that names it, never a silent default. */
import { EngineError } from '../errors';
import type { GenerationRequest, SamplingRequest } from '../protocol/chat';
import type { GenerateRequest, SamplingValues } from '../protocol/engine';
import type { RequestOptions } from './types';

type NumberRule = { least: number; most: number; integer?: boolean; aboveLeast?: boolean };

const samplingRules: Record<Exclude<keyof SamplingRequest, 'logit_bias'>, NumberRule> = {
  temperature: { least: 0, most: 2 },
  top_p: { least: 0, most: 1, aboveLeast: true },
  top_k: { least: 0, most: 2 ** 31 - 1, integer: true },
  min_p: { least: 0, most: 1 },
  repetition_penalty: { least: 0.01, most: 100 },
  presence_penalty: { least: -2, most: 2 },
  frequency_penalty: { least: -2, most: 2 },
  seed: { least: -Number.MAX_SAFE_INTEGER, most: Number.MAX_SAFE_INTEGER, integer: true },
};
export const lengthRule: NumberRule = { least: 1, most: 2 ** 31 - 1, integer: true };
export const logprobsRule: NumberRule = { least: 0, most: 20, integer: true };
const choicesRule: NumberRule = { least: 1, most: 128, integer: true };
const biasRule: NumberRule = { least: -100, most: 100 };
const commonFields = [
  ...Object.keys(samplingRules),
  ...['logit_bias', 'max_tokens', 'stop', 'n', 'model', 'signal'],
  ...['stream', 'stream_options', 'return_progress', 'allow_special_tokens'],
];

/** An error about one field of a request. `problem` reads on after its name. */
export function fieldError(field: string, problem: string): EngineError {
  return new EngineError('invalid-request', `'${field}' ${problem}.`, { field });
}

/** @throws EngineError 'invalid-request' if a request is not an object at all, or has a field that is neither common nor among `own` */
export function checkFields(request: unknown, own: readonly string[]): void {
  if (!isObject(request)) throw new EngineError('invalid-request', 'A request must be an object.');
  for (const [field, value] of Object.entries(request)) {
    if (value === undefined) continue; // { tools: maybeTools } asks for nothing
    if (!commonFields.includes(field) && !own.includes(field)) throw unknownField(field);
  }
}

/** As checkFields, for the object in `field`. @throws EngineError 'invalid-request' */
export function checkInner(field: string, value: object, known: readonly string[]): void {
  for (const [name, inner] of Object.entries(value))
    if (inner !== undefined && !known.includes(name)) throw unknownField(`${field}.${name}`);
}

const unknownField = (field: string): EngineError => fieldError(field, 'is not a field that Sluice knows');

/** What every request has. `vocabSize` bounds token ids. @throws EngineError 'invalid-request' */
export function generationFields(
  request: GenerationRequest,
  vocabSize: number,
): Pick<GenerateRequest, 'sampling' | 'maxTokens' | 'stop' | 'choices'> {
  checkStream(request);
  checkFlag('allow_special_tokens', request.allow_special_tokens);
  if (request.model !== undefined && typeof request.model !== 'string') throw fieldError('model', 'must be a string');
  const sampling: SamplingValues = {};
  for (const [field, rule] of Object.entries(samplingRules) as [keyof typeof samplingRules, NumberRule][]) {
    const value = checkNumber(field, request[field], rule);
    if (value !== undefined) sampling[field] = value;
  }
  const bias = checkBias(request.logit_bias, vocabSize);
  if (bias) sampling.logit_bias = bias;
  const maxTokens = checkNumber('max_tokens', request.max_tokens, lengthRule);
  const choices = checkNumber('n', request.n, choicesRule);
  if ((sampling.seed ?? 0) > Number.MAX_SAFE_INTEGER - (choices ?? 1) + 1)
    throw fieldError('seed', `must be so that seed + n - 1, the last choice's, is at most ${Number.MAX_SAFE_INTEGER}`);
  return { sampling, maxTokens, stop: checkStop(request.stop), ...(choices === undefined ? {} : { choices }) };
}

/** Of the request and of the second argument, both of which may cancel. @throws EngineError 'invalid-request' */
export function signalOf(request: GenerationRequest, options: RequestOptions | undefined): AbortSignal | undefined {
  if (options !== undefined && !isObject(options)) throw new EngineError('invalid-request', 'Request options must be an object.');
  for (const [field, value] of Object.entries(options ?? {}))
    if (field !== 'signal' && value !== undefined) throw fieldError(field, 'is not a request option that Sluice knows');
  const signals = [request.signal, options?.signal].filter((signal) => signal !== undefined && signal !== null);
  for (const signal of signals) if (!(signal instanceof AbortSignal)) throw fieldError('signal', 'must be an AbortSignal');
  return signals.length > 1 ? AbortSignal.any(signals) : signals[0];
}

export function checkNumber(field: string, value: unknown, { least, most, integer, aboveLeast }: NumberRule): number | undefined {
  if (value === undefined || value === null) return undefined;
  const fits =
    typeof value === 'number' &&
    value >= least &&
    value <= most &&
    (!aboveLeast || value > least) &&
    (!integer || Number.isInteger(value));
  if (!fits) {
    const range = `${integer ? 'a whole number' : 'a number'} ${aboveLeast ? 'above' : 'from'} ${least} ${aboveLeast ? 'and at most' : 'to'} ${most}`;
    throw fieldError(field, `must be ${range}; it is ${shown(value)}`);
  }
  return value;
}

/** A text in quotes, a number as it is; what has no JSON by its type. */
function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 40));
  return typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean' ? `${value}` : `a ${typeof value}`;
}

export function checkFlag(field: string, value: unknown): boolean {
  if (value === undefined || value === null || typeof value === 'boolean') return value === true;
  throw fieldError(field, 'must be true or false');
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What goes to the worker and is written as JSON there. */
export function checkPlain(field: string, value: unknown): void {
  try {
    JSON.stringify(value);
    structuredClone(value);
  } catch (cause) {
    throw fieldError(field, `must be plain data, as JSON has it: ${(cause as Error).message.split('\n')[0]}`);
  }
}

function checkStream({ stream, stream_options: options, return_progress: progress }: GenerationRequest): void {
  const streams = checkFlag('stream', stream);
  checkFlag('return_progress', progress);
  if (options === undefined || options === null) return;
  if (!isObject(options)) throw fieldError('stream_options', 'must be an object');
  if (!streams) throw fieldError('stream_options', "needs 'stream: true'");
  checkInner('stream_options', options, ['include_usage', 'include_obfuscation']);
  for (const [name, value] of Object.entries(options)) checkFlag(`stream_options.${name}`, value);
}

function checkBias(bias: unknown, vocabSize: number): { [token: string]: number } | undefined {
  if (bias === undefined || bias === null) return undefined;
  if (!isObject(bias)) throw fieldError('logit_bias', 'must be an object of token ids and numbers');
  for (const [token, value] of Object.entries(bias)) {
    if (!/^(0|[1-9]\d*)$/.test(token) || Number(token) >= vocabSize)
      throw fieldError('logit_bias', `has the key '${token}', which is no token id below ${vocabSize}`);
    if (checkNumber(`logit_bias.${token}`, value, biasRule) === undefined)
      throw fieldError(`logit_bias.${token}`, 'must be a number from -100 to 100');
  }
  return bias as { [token: string]: number };
}

function checkStop(stop: unknown): string[] {
  if (stop === undefined || stop === null) return [];
  const list = typeof stop === 'string' ? [stop] : stop;
  if (!Array.isArray(list) || list.length > 16 || list.some((text) => typeof text !== 'string' || text === '')) {
    throw fieldError('stop', 'must be a non-empty string or a list of up to 16 of them');
  }
  return list as string[];
}
