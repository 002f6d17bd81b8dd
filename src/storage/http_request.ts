/**
 * One HTTP request with everything around it that a download of hours meets: credentials that stay home, redirects, retries
 * with back-off, stalled connections, and a clear sentence for each status (`http_error.ts`).
 */
import { abortError, EngineError, throwIfAborted } from '../errors';
import { HttpError, statusError, Transient } from './http_error';
import { shortRead } from './range';

export type HttpOptions = {
  /** Sent as `Authorization: Bearer …` to the origin asked for, never to another. */
  token?: string;
  /** Extra request headers, under the same rule. */
  headers?: Record<string, string>;
  /** Attempts per request, the first included. Default 4. */
  tries?: number;
  /** First pause before another attempt, ms; it doubles each time and is jittered. Default 300. */
  retryDelayMs?: number;
  /** Longest pause, ms, whatever the server's Retry-After asks for. Default 60,000. */
  maxPauseMs?: number;
  /** A connection that brings nothing for this long counts as broken, ms. Default 60,000. */
  stallMs?: number;
};

/** `range` is asked anew for every attempt, so that one goes on where the last one broke off. */
export type Attempt = { method?: 'GET' | 'HEAD'; range?: () => string; accept?: string };

/** A response with its body still to be read. */
export type HttpResponse = {
  response: Response;
  /** Where the bytes came from in the end; its query may be a signature, so it stays out of messages. */
  url: string;
  /** Every await on the body goes through here: it rejects on abort and on a stall. */
  guard<T>(work: Promise<T>): Promise<T>;
};

const MAX_REDIRECTS = 5;
/** A URL as messages show it: without credentials, query and fragment. */
export function urlLabel(url: string | URL): string {
  const { origin, pathname } = new URL(url);
  return origin + pathname;
}

/** @throws EngineError 'invalid-request' unless `url` is http(s) without a user name or password. */
export function checkUrl(url: string | URL): URL {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (!parsed || (parsed.protocol !== 'https:' && parsed.protocol !== 'http:')) {
    throw new EngineError('invalid-request', 'A model URL must be an absolute http or https URL.');
  }
  if (parsed.username !== '' || parsed.password !== '') {
    throw new EngineError(
      'invalid-request',
      `${urlLabel(parsed)}: a URL must not hold a user name or password. Pass them as token or headers.`,
    );
  }
  return parsed;
}

/**
 * Runs `use` on the response to a request, again after failures that may pass (network, stall, 429, 5xx, or a Transient thrown by
 * `use`). `home`: the origin that may see token and headers. `use` checks the status itself where it is not an error.
 * @throws HttpError ('storage' or 'not-found'); AbortError when cancelled.
 */
export async function withResponse<T>(
  target: () => string,
  home: string,
  options: HttpOptions,
  attempt: Attempt,
  use: (response: HttpResponse) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const tries = options.tries ?? 4;
  for (let n = 1; ; n++) {
    throwIfAborted(signal);
    try {
      return await once(target(), home, options, attempt, use, signal);
    } catch (error) {
      if (!(error instanceof Transient)) throw error;
      if (n >= tries) throw tries > 1 ? error.error.after(n) : error.error;
      await pause(pauseMs(n, error.retryAfterMs, options), signal);
    }
  }
}

/** Jittered both ways of counting, because connections that were refused together would come back together. */
function pauseMs(failures: number, retryAfterMs: number, { retryDelayMs = 300, maxPauseMs = 60_000 }: HttpOptions): number {
  const backOff = retryDelayMs * 2 ** (failures - 1) * (0.5 + Math.random());
  return Math.min(Math.max(backOff, retryAfterMs * (1 + Math.random() / 4)), maxPauseMs);
}

async function once<T>(
  url: string,
  home: string,
  options: HttpOptions,
  attempt: Attempt,
  use: (response: HttpResponse) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const label = urlLabel(url);
  const connection = new Connection(label, options.stallMs ?? 60_000, signal);
  try {
    const { response, finalUrl } = await connection.guard(follow(url, home, options, attempt, connection.signal));
    if (response.status >= 400 && response.status !== 416)
      throw await connection.guard(statusError(response, label, options.token !== undefined && options.token !== ''));
    return await use({ response, url: finalUrl, guard: (work) => connection.guard(work) });
  } catch (error) {
    if (signal?.aborted) throw abortError();
    throw error;
  } finally {
    connection.end();
  }
}

/** Ties a request to the caller's signal and to a stall clock that restarts with every guarded step. */
class Connection {
  private readonly controller = new AbortController();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly forward = () => this.controller.abort();
  private stall: Transient | undefined;

  constructor(
    private readonly label: string,
    private readonly stallMs: number,
    private readonly outer: AbortSignal | undefined,
  ) {
    if (outer?.aborted) this.forward();
    outer?.addEventListener('abort', this.forward);
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  async guard<T>(work: Promise<T>): Promise<T> {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const message = `${this.label} sent nothing for ${this.stallMs / 1000} s. Check the connection and load again.`;
      this.stall = new Transient(new HttpError('stalled', message));
      this.controller.abort();
    }, this.stallMs);
    try {
      return await work;
    } catch (error) {
      if (this.stall) throw this.stall;
      // What fetch and its body readers throw: TypeError from fetch, DOMException once aborted.
      if (error instanceof TypeError || error instanceof DOMException) throw this.broken(error);
      throw error;
    } finally {
      clearTimeout(this.timer);
    }
  }

  private broken(cause: Error): Transient {
    const message =
      `${this.label} could not be reached, or the connection broke. Check the connection and load again. ` +
      `If it is on another site, that site must allow cross-origin requests (CORS).`;
    return new Transient(new HttpError('unreachable', message, { cause }));
  }

  /** Also drops a body that nobody read, so the socket is free. */
  end(): void {
    clearTimeout(this.timer);
    this.outer?.removeEventListener('abort', this.forward);
    this.controller.abort();
  }
}

/**
 * A token rides on fetch's own redirect handling, which drops Authorization when the origin changes. Custom headers it would
 * carry along, so with those redirects are followed by hand; browsers hide Location from scripts, so there it is an error.
 */
async function follow(
  url: string,
  home: string,
  options: HttpOptions,
  { method = 'GET', range, accept }: Attempt,
  signal: AbortSignal,
): Promise<{ response: Response; finalUrl: string }> {
  const custom = Object.keys(options.headers ?? {}).length > 0;
  let secrets = true;
  let at = url;
  for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
    secrets &&= new URL(at).origin === home;
    const headers = secrets ? secretHeaders(options) : new Headers();
    if (range !== undefined) headers.set('Range', range());
    if (accept !== undefined) headers.set('Accept', accept);
    const manual = custom && secrets;
    // no-store: weights are cached in OPFS if at all, and Chrome's HTTP cache serialises ranges of one URL.
    const response = await fetch(at, { method, headers, signal, cache: 'no-store', redirect: manual ? 'manual' : 'follow' });
    const opaque = response.type === 'opaqueredirect';
    if (!opaque && ![301, 302, 303, 307, 308].includes(response.status)) return { response, finalUrl: response.url || at };
    const location = response.headers.get('location');
    if (opaque || location === null) {
      throw new HttpError(
        'redirect',
        `${urlLabel(url)} redirects elsewhere, and browsers would send your extra headers along. ` +
          `Use \`token\` in place of \`headers\`, or give the URL that it redirects to.`,
      );
    }
    await response.body?.cancel();
    at = checkUrl(new URL(location, at)).href;
  }
  throw new HttpError(
    'redirect',
    `${urlLabel(url)} redirects more than ${MAX_REDIRECTS} times. Give the address it should end at.`,
  );
}

/** Built by hand so that a bad value never reaches a message: fetch's own error quotes it. */
function secretHeaders({ token, headers = {} }: HttpOptions): Headers {
  const result = new Headers();
  const entries = Object.entries(headers);
  if (token !== undefined && token !== '') entries.push(['Authorization', `Bearer ${token}`]);
  for (const [name, value] of entries) {
    try {
      result.set(name, value);
    } catch {
      const what = name === 'Authorization' ? 'The token' : `The header ${JSON.stringify(name)}`;
      throw new EngineError('invalid-request', `${what} holds characters that HTTP headers cannot carry.`);
    }
  }
  return result;
}

/**
 * A whole body of at most `maxBytes`. Memory follows the bytes that come, not the length that is claimed; more than that length is
 * a compressed transfer, less is a cut one.
 * @param tooLarge makes the error for a longer one.
 */
export async function readBody(
  { response, guard, url }: HttpResponse,
  maxBytes: number,
  tooLarge: () => EngineError,
): Promise<Uint8Array<ArrayBuffer>> {
  const claimed = Number(response.headers.get('content-length') ?? 0);
  if (claimed > maxBytes) throw tooLarge();
  const chunks: Uint8Array[] = [];
  let size = 0;
  await eachChunk({ response, guard }, (chunk) => {
    size += chunk.byteLength;
    if (size > maxBytes) throw tooLarge();
    chunks.push(chunk.slice());
  });
  if (size < claimed) throw new Transient(new HttpError('cut-off', shortRead(urlLabel(url), 0, claimed, size).message));
  const whole = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.byteLength;
  }
  return whole;
}

/** What a body is read into at a time, bytes. */
const READ_BYTES = 256 << 10;
/** Buffers that no body is being read into; as many as requests are in flight at most. */
const spareBuffers: ArrayBuffer[] = [];
const SPARE_BUFFERS = 8;

/**
 * Gives `take` the body as it comes; a chunk is only valid until `take` returns. Where the browser lets us, all of it passes through
 * one buffer: arrays of the browser's own making would be garbage that stays for tens of megabytes, since V8 sees only their handles.
 */
export async function eachChunk(
  { response, guard }: Pick<HttpResponse, 'response' | 'guard'>,
  take: (chunk: Uint8Array) => void,
): Promise<void> {
  if (!response.body) return;
  const reader = bytesReader(response.body);
  if (!reader) return eachOwnChunk(response.body.getReader(), guard, take);
  let buffer: ArrayBuffer | undefined = spareBuffers.pop() ?? new ArrayBuffer(READ_BYTES);
  try {
    for (;;) {
      const read = reader.read(new Uint8Array(buffer)); // takes the buffer; the value brings it back
      buffer = undefined;
      const { done, value } = await guard(read);
      buffer = value?.buffer as ArrayBuffer | undefined;
      if (done) return;
      take(value);
      buffer ??= new ArrayBuffer(READ_BYTES);
    }
  } finally {
    if (buffer && spareBuffers.length < SPARE_BUFFERS) spareBuffers.push(buffer);
  }
}

/** undefined where a body is no byte stream (Safari). */
function bytesReader(body: ReadableStream<Uint8Array>): ReadableStreamBYOBReader | undefined {
  try {
    return body.getReader({ mode: 'byob' });
  } catch {
    return undefined;
  }
}

async function eachOwnChunk(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  guard: HttpResponse['guard'],
  take: (chunk: Uint8Array) => void,
): Promise<void> {
  for (;;) {
    const { done, value } = await guard(reader.read());
    if (done) return;
    take(value);
  }
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(abortError());
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, ms);
    if (signal?.aborted) stop();
    else signal?.addEventListener('abort', stop, { once: true });
  });
}
