/** One request to an endpoint: no cookies, no redirects, no referrer; failures in words. */
import { abortError, EngineError, isAbort, throwIfAborted, unlessAborted } from '../errors';
import type { EndpointAddress } from './address';
import { type BoundKey, shownWords } from './key';
import { unreachable } from './unreachable';

export type Ask = { address: EndpointAddress; key: BoundKey | undefined; path: string; body?: object; signal?: AbortSignal };

/** `key`: what was sent, for whoever shows what the server says. */
export type Answer = { response: Response; key: string | undefined };

/** @throws EngineError 'endpoint' where there is no good answer; 'invalid-request' where the server says so; AbortError. */
export async function ask({ address, key: bound, path, body, signal }: Ask): Promise<Answer> {
  const key = bound && (await unlessAborted(bound.for(address.origin), signal));
  const response = await send(address, path, key, body, signal);
  if (response.ok) return { response, key };
  const words = await response.text().catch(() => '');
  throwIfAborted(signal); // which may be why there are none
  throw refused(response.status, address, shownWords(wordsOf(words), key));
}

async function send(
  address: EndpointAddress,
  path: string,
  key: string | undefined,
  body: object | undefined,
  signal: AbortSignal | undefined,
): Promise<Response> {
  try {
    return await fetch(`${address.base}${path}`, {
      method: body ? 'POST' : 'GET',
      headers: {
        ...(body ? { 'content-type': 'application/json' } : {}),
        ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
      },
      body: body && JSON.stringify(body),
      redirect: 'error', // another host would get what was meant for this one
      credentials: 'omit',
      referrerPolicy: 'no-referrer',
      cache: 'no-store',
      signal,
    });
  } catch (error) {
    if (signal?.aborted) throw abortError();
    throw isAbort(error) ? error : await unreachable(address, error);
  }
}

function refused(status: number, { host }: EndpointAddress, words: string): EngineError {
  const said = words === '' ? '' : ` It says: ${words}`;
  if (status === 401 || status === 403)
    return new EngineError('endpoint', `${host} refuses the key (status ${status}). Set apiKey to one that it knows.${said}`);
  if (status === 404) return new EngineError('endpoint', `${host} has no such address or model (404); is /v1 missing?${said}`);
  if (status === 429) return new EngineError('endpoint', `${host} takes no more requests for now (429). Try again later.${said}`);
  const code = status === 400 || status === 422 ? 'invalid-request' : 'endpoint';
  return new EngineError(code, `${host} answered with status ${status}.${said}`);
}

/** What an error's body says, as OpenAI or as plain text. */
function wordsOf(body: string): string {
  let words: unknown = body;
  try {
    const parsed = JSON.parse(body) as { error?: { message?: unknown } | string; message?: unknown; detail?: unknown };
    const error = parsed.error;
    words = (typeof error === 'object' ? error?.message : error) ?? parsed.message ?? parsed.detail;
  } catch {
    // plain text
  }
  return typeof words === 'string' ? words : '';
}
