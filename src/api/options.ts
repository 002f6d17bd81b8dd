/** Checks the options of createEngine and its kin: a typo must not silently mean the default. */
import { EngineError } from '../errors';
import type { EngineConfig } from '../protocol/engine';
import type { ByteBudget } from '../protocol/plan';
import { parseByteBudget } from './byte_budget';

type Check = { means: string; holds(value: unknown): boolean };

const wholeNumber = (least: number, most: number): Check => ({
  means: `a whole number from ${least} to ${most}`,
  holds: (value) => Number.isInteger(value) && (value as number) >= least && (value as number) <= most,
});
const text: Check = { means: 'a string', holds: (value) => typeof value === 'string' };
const yesOrNo: Check = { means: 'true or false', holds: (value) => typeof value === 'boolean' };
const oneOf = (...names: string[]): Check => ({
  means: names.map((name) => `'${name}'`).join(' or '),
  holds: (value) => names.includes(value as string),
});
const features = ['subgroups', 'f16'];

const checks: Record<keyof EngineConfig, Check> = {
  gpuBudget: {
    means: "a whole number of bytes above 0, or a size such as '4GB', '512MB' or '1.5GiB'",
    holds: (value) =>
      (typeof value === 'number' || typeof value === 'string') && parseByteBudget(value as ByteBudget) !== undefined,
  },
  contextTokens: wholeNumber(1, 2 ** 24),
  contextOverflow: oneOf('error', 'truncate', 'stop'),
  storage: oneOf('opfs', 'none'),
  verify: oneOf('changed', 'full'),
  update: yesOrNo,
  answerWhileLoading: yesOrNo,
  kv: oneOf('f16', 'f32'),
  chunkTokens: wholeNumber(1, 512),
  disable: {
    means: `a list of ${features.join(', ')}`,
    holds: (value) => Array.isArray(value) && value.every((name) => features.includes(name)),
  },
  f16: yesOrNo,
  precision: oneOf('exact', 'fast'),
  prefixCacheBytes: wholeNumber(0, 2 ** 36),
  token: text,
  headers: {
    means: 'a plain object of strings',
    holds: (value) =>
      typeof value === 'object' &&
      value !== null &&
      Object.getPrototypeOf(value) === Object.prototype &&
      Object.values(value).every((entry) => typeof entry === 'string'),
  },
  hubUrl: text,
  textTimeoutMs: wholeNumber(1, 600_000),
  loadTimeoutMs: wholeNumber(1, 600_000),
};

/** @throws EngineError 'invalid-request' naming the option. */
export function checkOptions(options: EngineConfig): void {
  for (const [name, value] of Object.entries(options)) {
    const check = Object.hasOwn(checks, name) ? checks[name as keyof EngineConfig] : undefined;
    if (!check) throw new EngineError('invalid-request', `'${name}' is not an option that Sluice knows.`);
    if (value !== undefined && !check.holds(value))
      throw new EngineError('invalid-request', `The option '${name}' must be ${check.means}.`);
  }
}

/** @throws EngineError 'invalid-request' naming the option. */
export function checkCallback(name: string, value: unknown): void {
  if (value !== undefined && typeof value !== 'function')
    throw new EngineError('invalid-request', `The option '${name}' must be a function.`);
}
