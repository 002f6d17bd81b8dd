/** What can be wrong with an HTTP answer: a reason that code can tell, and a sentence that says what to do. */
import { EngineError, type ErrorCode } from '../errors';

/**
 * - `unreachable`   no connection, or it broke; also what a missing CORS header looks like to a script
 * - `stalled`       connected, but nothing came
 * - `cut-off`       the body ended early
 * - `unauthorized`  401
 * - `forbidden`     403; S3-style hosts also mean "no such file", and an expired signature
 * - `missing`       404, 410, or the hub's word for no such repository
 * - `rate-limited`  429
 * - `server-fault`  408, 425, 5xx
 * - `status`        any other status that is no answer
 * - `web-page`      HTML in place of the file
 * - `no-ranges`     200 to a range of a file too large to read whole
 * - `wrong-range`   other bytes than those asked for, by Content-Range, status 416 or length
 * - `changed`       another version than the one opened
 * - `no-size`       the size cannot be found out
 * - `redirect`      a redirect that cannot be followed
 */
export type HttpFailure =
  | 'unreachable'
  | 'stalled'
  | 'cut-off'
  | 'unauthorized'
  | 'forbidden'
  | 'missing'
  | 'rate-limited'
  | 'server-fault'
  | 'status'
  | 'web-page'
  | 'no-ranges'
  | 'wrong-range'
  | 'changed'
  | 'no-size'
  | 'redirect';

type Details = { status?: number; cause?: unknown; code?: ErrorCode };

/** `reason` and `status` are for code on this side of a worker boundary: across it go code and message. */
export class HttpError extends EngineError {
  readonly status: number | undefined;

  constructor(
    readonly reason: HttpFailure,
    message: string,
    { status, cause, code = reason === 'missing' ? 'not-found' : 'storage' }: Details = {},
  ) {
    super(code, message, cause === undefined ? undefined : { cause });
    this.status = status;
  }

  /** The same, saying how often it was tried. */
  after(tries: number): HttpError {
    const { reason, status, cause, code } = this;
    return new HttpError(reason, `${this.message} (tried ${tries} times)`, { status, cause, code });
  }
}

/** A failure that another attempt may mend. */
export class Transient extends Error {
  constructor(
    readonly error: HttpError,
    readonly retryAfterMs = 0,
  ) {
    super(error.message);
  }
}

/** Whether the answer is a 403: no permission, an expired signature, or (S3 and its like) no such file. */
export function isForbidden(error: unknown): boolean {
  return error instanceof HttpError && error.reason === 'forbidden';
}

/** A login page, or a single-page site's answer to every address. */
export function isWebPage(response: Response): boolean {
  return /^(text\/html|application\/xhtml\+xml)\b/i.test(response.headers.get('content-type') ?? '');
}

/** The same, sent without saying so. */
export function looksLikeWebPage(firstBytes: Uint8Array): boolean {
  const text = new TextDecoder('latin1').decode(firstBytes.subarray(0, 64));
  return /^(ï»¿)?\s*<(!doctype html|html)\b/i.test(text);
}

/** The error for a status of 400 or more. Drops the body. */
export async function statusError(response: Response, label: string, withToken: boolean): Promise<HttpError | Transient> {
  const { status } = response;
  const hubCode = response.headers.get('x-error-code'); // the hub's own, exposed to scripts
  await response.body?.cancel();
  const error = (reason: HttpFailure, text: string) => new HttpError(reason, `${label} ${text}`, { status });
  if (status === 404 || status === 410 || hubCode === 'RepoNotFound') {
    const hint = hubCode === 'RepoNotFound' ? '; if it is private, pass a token' : '';
    return error('missing', `does not exist (HTTP ${status}). Check the name${hint}.`);
  }
  if (status === 401) {
    const advice = withToken
      ? 'The token was not accepted: check that it is valid and may read this repository.'
      : 'It needs an access token, or does not exist.';
    return error('unauthorized', `refused access (HTTP 401). ${advice}`);
  }
  if (status === 403) {
    const advice =
      hubCode === 'GatedRepo'
        ? "Accept the model's terms on its page, then pass a token."
        : 'Check that your token may read it, that the address is right, and that it has not expired if it is a signed one.';
    return error('forbidden', `refused access (HTTP 403). ${advice}`);
  }
  if (status === 429) {
    const wait = retryAfterMs(response);
    const advice = wait > 0 ? `wait ${Math.ceil(wait / 1000)} s, as it asks` : 'wait a few minutes';
    return new Transient(error('rate-limited', `gets too many requests; ${advice} (HTTP 429).`), wait);
  }
  // 501, 505: the server cannot, and will not be able to in a minute either.
  if (status === 408 || status === 425 || (status >= 500 && status !== 501 && status !== 505)) {
    return new Transient(error('server-fault', `has a server fault; try again later (HTTP ${status}).`), retryAfterMs(response));
  }
  return error('status', `answered with HTTP ${status}. Check the address.`);
}

/** Retry-After as seconds or as a date, ms from now; 0 without one, or where the server hides it from scripts. */
function retryAfterMs(response: Response): number {
  const value = response.headers.get('retry-after')?.trim() ?? '';
  const ms = /^\d{1,9}$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return ms > 0 ? ms : 0;
}
