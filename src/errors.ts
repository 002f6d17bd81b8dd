/**
 * What this runtime throws on purpose. The codes are stable: callers branch on them, and they cross the worker boundary
 * as plain data (`toWire` / `fromWire`), because a structured clone keeps no subclass.
 *
 * - `unsupported`      this browser, adapter, architecture or option is not something Sluice can run
 * - `unsupported-content` a message part (image, audio) that a text model cannot read
 * - `format`           a checkpoint, tokenizer or template file that does not hold what it must
 * - `storage`          bytes could not be read: network, HTTP status, file system, short read
 * - `not-found`        a file that the model needs is not where the reference points
 * - `limit`            untrusted input exceeded a time or output limit (template, tokenizer, header)
 * - `budget`           memory: a buffer, KV cache or model does not fit
 * - `shape`            two sizes that must agree do not
 * - `context-length`   prompt, or prompt and reply, do not fit the context
 * - `invalid-request`  a request field is unknown or out of range; the message names the field
 * - `unsupported-schema` a JSON schema asks for what a grammar cannot enforce; the message names the place by a JSON pointer
 * - `non-finite`       the model produced NaN or infinite logits
 * - `device-lost`      the GPU device went away
 * - `endpoint`         a server that was asked instead of this device cannot be reached, refuses or breaks off
 * - `consent`          nothing was sent to a server, because nobody agreed to it
 * - `unloaded`         the engine was unloaded
 * - `internal`         a bug in Sluice
 */
export type ErrorCode =
  | 'unsupported'
  | 'unsupported-content'
  | 'format'
  | 'storage'
  | 'not-found'
  | 'limit'
  | 'budget'
  | 'shape'
  | 'context-length'
  | 'invalid-request'
  | 'unsupported-schema'
  | 'non-finite'
  | 'device-lost'
  | 'endpoint'
  | 'consent'
  | 'unloaded'
  | 'internal';

export class EngineError extends Error {
  override readonly name = 'EngineError';
  readonly code: ErrorCode;
  /** The request's field that is wrong ('messages[0].content'), where it is one. */
  readonly field: string | undefined;

  constructor(code: ErrorCode, message: string, { field, ...options }: { cause?: unknown; field?: string } = {}) {
    super(message, options);
    this.code = code;
    this.field = field;
  }
}

/** An error as plain data. `code: 'AbortError'` is a cancel, which stays a DOMException on both sides. */
export type WireError = { code: ErrorCode | 'AbortError'; message: string; field?: string };

export function abortError(message = 'The operation was aborted.'): DOMException {
  return new DOMException(message, 'AbortError');
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'AbortError';
}

/** Throws AbortError if the signal is already aborted. Custom reasons are normalised: callers test for one name only. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortError();
}

export function toWire(error: unknown): WireError {
  if (isAbort(error)) return { code: 'AbortError', message: (error as DOMException).message };
  if (error instanceof EngineError) {
    const { code, message, field } = error;
    return { code, message, ...(field === undefined ? {} : { field }) };
  }
  return { code: 'internal', message: error instanceof Error ? `${error.name}: ${error.message}` : String(error) };
}

export function fromWire(wire: WireError): EngineError | DOMException {
  const { code, message, field } = wire;
  return code === 'AbortError' ? abortError(message) : new EngineError(code, message, field === undefined ? {} : { field });
}

/** `pending`, or AbortError as soon as `signal` aborts: what is waited for may be far away. It goes on by itself then. */
export async function unlessAborted<T>(pending: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return pending;
  pending.catch(() => {}); // where the abort comes first, it must not count as unhandled
  throwIfAborted(signal);
  let abort: () => void = () => {};
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(abortError());
    signal.addEventListener('abort', abort, { once: true });
  });
  try {
    return await Promise.race([pending, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
