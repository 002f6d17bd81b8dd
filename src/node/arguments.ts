/** Command lines: what was typed to checked values. Every complaint is one line that says what to type. */
import { parseArgs } from 'node:util';
import { EngineError } from '../errors';
import type { DisabledFeature } from '../gpu/device';

type Kind = 'text' | 'flag';

/** @throws EngineError 'invalid-request' on an unknown option, a missing value or a stray word. */
export function readOptions(
  args: readonly string[],
  kinds: Record<string, Kind>,
  usage: string,
): Record<string, string | boolean | undefined> {
  try {
    const options = Object.fromEntries(
      Object.entries(kinds).map(([name, kind]) => [name, { type: kind === 'flag' ? ('boolean' as const) : ('string' as const) }]),
    );
    return parseArgs({ args: [...args], options, strict: true, allowPositionals: false }).values as Record<
      string,
      string | boolean | undefined
    >;
  } catch (error) {
    throw new EngineError(
      'invalid-request',
      `${(error as Error).message.replace(/\s*\n\s*/g, ' ').replace(/\.$/, '')}. Usage: ${usage}`,
    );
  }
}

export function required(name: string, value: string | boolean | undefined, usage: string): string {
  if (typeof value !== 'string' || value === '')
    throw new EngineError('invalid-request', `--${name} is missing. Usage: ${usage}`);
  return value;
}

export function wholeNumber(
  name: string,
  value: string | boolean | undefined,
  { least, most }: { least: number; most: number },
): number | undefined {
  if (value === undefined) return undefined;
  const number = typeof value === 'string' && /^-?\d+$/.test(value) ? Number(value) : Number.NaN;
  if (!(number >= least && number <= most))
    throw new EngineError('invalid-request', `--${name} must be a whole number from ${least} to ${most}; it is '${value}'.`);
  return number;
}

export function decimal(
  name: string,
  value: string | boolean | undefined,
  { least, most }: { least: number; most: number },
): number | undefined {
  if (value === undefined) return undefined;
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : Number.NaN;
  if (!(number >= least && number <= most))
    throw new EngineError('invalid-request', `--${name} must be a number from ${least} to ${most}; it is '${value}'.`);
  return number;
}

export function oneOf<T extends string>(name: string, value: string | boolean | undefined, choices: readonly T[]): T | undefined {
  if (value === undefined) return undefined;
  const found = choices.find((choice) => choice === value);
  if (!found) throw new EngineError('invalid-request', `--${name} must be ${choices.join(' or ')}; it is '${value}'.`);
  return found;
}

/** `--disable subgroups,f16`. */
export function disabledFeatures(value: string | boolean | undefined): DisabledFeature[] {
  if (typeof value !== 'string') return [];
  return value.split(',').map((name) => oneOf('disable', name.trim(), ['subgroups', 'f16'])!);
}
