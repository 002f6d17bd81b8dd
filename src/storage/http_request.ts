/**
 * One HTTP request with everything around it that a download of hours meets: credentials that stay home, redirects, retries
 * with back-off, stalled connections, and a clear sentence for each status.
 */
import { abortError, EngineError, throwIfAborted } from '../errors';

export type HttpOptions = {
  /** Sent as `Authorization: Bearer …` to the origin asked for, never to another. */
  token?: string;
  /** Extra request headers, under the same rule. */
  headers?: Record<string, string>;
  /** Attempts per request, the first included. Default 4. */
  tries?: number;
  /** First pause before another attempt, ms; it doubles each time and is jittered. Default 300. */
  retryDelayMs?: number;
  /** A connection that brings nothing for this long counts as broken, ms. Default 60,000. */
  stallMs?: number;
};

type Attempt = { method?: 'GET' | 'HEAD'; range?: string; accept?: string };

/** A response with its body still to be read; `stalled` must be called whenever bytes arrive. */
export type HttpResponse = {
  response: Response;
  /** Where the bytes came from in the end; its query may be a signature, so it stays out of messages. */
  url: string;
  /** Every await on the body goes through here: it rejects on abort and on a stall. */
  guard<T>(work: Promise<T>): Promise<T>;
};

const MAX_REDIRECTS = 5;
const MAX_PAUSE_MS = 30_000;
const RETRIED = new Set([408, 425, 429, 500, 502, 503, 504]);

/** A failure that another attempt may mend. */
export class Transient extends Error {
  constructor(
    readonly error: EngineError,
    readonly retryAfterMs = 0,
  ) {
    super(error.message);
  }
}

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
 * @throws EngineError 'storage' or 'not-found'; AbortError when cancelled.
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
      if (n >= tries)
        throw tries > 1
          ? new EngineError('storage', `${error.error.message} (tried ${n} times)`, { cause: error.error.cause })
          : error.error;
      const backOff = (options.retryDelayMs ?? 300) * 2 ** (n - 1) * (0.5 + Math.random());
      await pause(Math.min(Math.max(backOff, error.retryAfterMs), MAX_PAUSE_MS), signal);
    }
  }
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
    if (response.status >= 400 && response.status !== 416) throw await connection.guard(statusError(response, label, options));
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
      this.stall = new Transient(new EngineError('storage', `${this.label} sent nothing for ${this.stallMs / 1000} s.`));
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
      `${this.label} could not be reached, or the connection broke. ` +
      `If it is on another site, that site must allow cross-origin requests (CORS).`;
    return new Transient(new EngineError('storage', message, { cause }));
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
    if (range !== undefined) headers.set('Range', range);
    if (accept !== undefined) headers.set('Accept', accept);
    const manual = custom && secrets;
    // no-store: weights are cached in OPFS if at all, and Chrome's HTTP cache serialises ranges of one URL.
    const response = await fetch(at, { method, headers, signal, cache: 'no-store', redirect: manual ? 'manual' : 'follow' });
    const opaque = response.type === 'opaqueredirect';
    if (!opaque && ![301, 302, 303, 307, 308].includes(response.status)) return { response, finalUrl: response.url || at };
    const location = response.headers.get('location');
    if (opaque || location === null) {
      throw new EngineError(
        'storage',
        `${urlLabel(url)} redirects elsewhere, and browsers would send your extra headers along. ` +
          `Use \`token\` in place of \`headers\`, or give the URL that it redirects to.`,
      );
    }
    await response.body?.cancel();
    at = checkUrl(new URL(location, at)).href;
  }
  throw new EngineError('storage', `${urlLabel(url)} redirects more than ${MAX_REDIRECTS} times.`);
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

async function statusError(response: Response, label: string, { token }: HttpOptions): Promise<EngineError | Transient> {
  const { status } = response;
  const hubCode = response.headers.get('x-error-code'); // the hub's own, exposed to scripts
  await response.body?.cancel();
  if (status === 404 || status === 410 || hubCode === 'RepoNotFound') {
    return new EngineError(
      'not-found',
      `${label} does not exist (HTTP ${status}). Check the name${hubCode === 'RepoNotFound' ? '; if it is private, pass a token' : ''}.`,
    );
  }
  if (status === 401) {
    const advice = token
      ? 'The token was not accepted: check that it is valid and may read this repository.'
      : 'It needs an access token, or does not exist.';
    return new EngineError('storage', `${label} refused access (HTTP 401). ${advice}`);
  }
  if (status === 403) {
    const gated =
      hubCode === 'GatedRepo' ? "Accept the model's terms on its page, then pass a token." : 'Check that your token may read it.';
    return new EngineError('storage', `${label} refused access (HTTP 403). ${gated}`);
  }
  if (RETRIED.has(status)) {
    const seconds = Number(response.headers.get('retry-after') ?? 0);
    const why = status === 429 ? 'gets too many requests; wait a few minutes' : 'has a server fault; try again later';
    return new Transient(
      new EngineError('storage', `${label} ${why} (HTTP ${status}).`),
      Number.isFinite(seconds) ? seconds * 1000 : 0,
    );
  }
  return new EngineError('storage', `${label} answered with HTTP ${status}.`);
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
