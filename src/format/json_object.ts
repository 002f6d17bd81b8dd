/** Typed reads from small untrusted JSON files. Every refusal names the file and the key. */
import { EngineError } from '../errors';

export type IntegerRange = { min?: number; max: number };

/** One JSON object, read by own keys only (`__proto__` in a file is a key like any other). */
export class JsonObject {
  private constructor(
    private readonly values: Record<string, unknown>,
    /** What messages call it, e.g. `config.json text_config`. */
    readonly where: string,
  ) {}

  /** @throws EngineError 'format' unless `text` is one JSON object. */
  static parse(text: string, file: string): JsonObject {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (cause) {
      throw new EngineError('format', `${file} is not valid JSON.`, { cause });
    }
    if (!isRecord(value)) throw new EngineError('format', `${file} must hold a JSON object.`);
    return new JsonObject(value, file);
  }

  /** `null` counts as absent: configs write both. */
  value(key: string): unknown {
    return Object.hasOwn(this.values, key) ? (this.values[key] ?? undefined) : undefined;
  }

  entries(): [string, unknown][] {
    return Object.entries(this.values);
  }

  object(key: string): JsonObject | undefined {
    const value = this.value(key);
    if (value === undefined) return undefined;
    if (!isRecord(value)) throw this.bad(key, 'an object');
    return new JsonObject(value, `${this.where} ${key}`);
  }

  integer(key: string, range: IntegerRange): number | undefined {
    const value = this.value(key);
    if (value === undefined) return undefined;
    const min = range.min ?? 1;
    if (!Number.isInteger(value) || (value as number) < min || (value as number) > range.max) {
      throw this.bad(key, `a whole number from ${min} to ${range.max}`);
    }
    return value as number;
  }

  requiredInteger(key: string, range: IntegerRange): number {
    return this.integer(key, range) ?? this.missing(key);
  }

  /** A finite number above `above` and at most `max`. */
  number(key: string, { above, max }: { above: number; max: number }): number | undefined {
    const value = this.value(key);
    if (value === undefined) return undefined;
    if (typeof value !== 'number' || !(value > above && value <= max))
      throw this.bad(key, `a number above ${above}, at most ${max}`);
    return value;
  }

  boolean(key: string): boolean | undefined {
    const value = this.value(key);
    if (value !== undefined && typeof value !== 'boolean') throw this.bad(key, 'true or false');
    return value as boolean | undefined;
  }

  string(key: string): string | undefined {
    const value = this.value(key);
    if (value !== undefined && typeof value !== 'string') throw this.bad(key, 'a string');
    return value as string | undefined;
  }

  array(key: string, maxLength: number): unknown[] | undefined {
    const value = this.value(key);
    if (value === undefined) return undefined;
    if (!Array.isArray(value) || value.length > maxLength) throw this.bad(key, `a list of at most ${maxLength}`);
    return value;
  }

  /** Token ids written as one number or as a list. */
  tokenIds(key: string): number[] {
    const value = this.value(key);
    if (value === undefined) return [];
    const ids = Array.isArray(value) ? value : [value];
    if (ids.length > 1024 || !ids.every((id) => Number.isInteger(id) && id >= 0 && id < 2 ** 31)) {
      throw this.bad(key, 'a token id or a list of token ids');
    }
    return ids;
  }

  missing(key: string): never {
    throw new EngineError('format', `${this.where} has no '${key}'.`);
  }

  bad(key: string, wanted: string): EngineError {
    return new EngineError('format', `${this.where}: '${key}' must be ${wanted}; found ${short(this.values[key])}.`);
  }

  unsupported(key: string, supported: string): EngineError {
    return new EngineError(
      'unsupported',
      `${this.where}: '${key}' is ${short(this.values[key])}, which Sluice does not run; it runs ${supported}.`,
    );
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function short(value: unknown): string {
  const text = Array.isArray(value)
    ? `a list of ${value.length}`
    : isRecord(value)
      ? 'an object'
      : (JSON.stringify(value) ?? 'nothing');
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}
