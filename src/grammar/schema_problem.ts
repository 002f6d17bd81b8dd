/** Refusals of schemas: each names the place by a JSON pointer. */
import { EngineError } from '../errors';

export function unsupportedSchema(pointer: string, why: string): EngineError {
  return new EngineError('unsupported-schema', `The schema at ${shown(pointer)} cannot be enforced: ${why}`);
}

export function invalidSchema(pointer: string, why: string): EngineError {
  return new EngineError('invalid-request', `The schema at ${shown(pointer)} is not valid: ${why}`);
}

/** Appends one step to a JSON pointer (RFC 6901). */
export function child(pointer: string, ...steps: (string | number)[]): string {
  return steps.reduce<string>((path, step) => `${path}/${String(step).replaceAll('~', '~0').replaceAll('/', '~1')}`, pointer);
}

const shown = (pointer: string) => `"#${pointer.length > 300 ? `${pointer.slice(0, 300)}…` : pointer}"`;
