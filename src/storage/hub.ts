/** The model hub's API: which commit a branch means, and what its listing says of each file. */
import { EngineError, isAbort, throwIfAborted } from '../errors';
import type { ExpectedFile } from './byte_source';
import { HttpError, isWebPage } from './http_error';
import { type HttpOptions, type HttpResponse, readBody, urlLabel, withResponse } from './http_request';
import { type SharedWork, shareWork } from './shared_work';

export type HubId = { owner: string; name: string; revision: string };

/** Largest answer of the API, bytes; a page of a listing has about 200 kB. */
const MAX_ANSWER_BYTES = 16 << 20;
/** A thousand files each on the real hub. */
const MAX_PAGES = 16;
const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$/;
const REVISION = /^[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,198}[A-Za-z0-9_-])?$/;
const COMMIT = /^[0-9a-f]{40}(?:[0-9a-f]{24})?$/;
const SHA256 = /^[0-9a-f]{64}$/;

/** `owner/name` or `owner/name@revision`; the revision is a branch, tag or commit, 'main' if absent. */
export function parseHubId(id: string): HubId {
  const at = id.indexOf('@');
  const [path, revision] = at < 0 ? [id, 'main'] : [id.slice(0, at), id.slice(at + 1)];
  const [owner = '', name = '', ...rest] = path.split('/');
  const dotted = [owner, name, revision].some((part) => part.includes('..') || part.includes('//'));
  if (
    rest.length > 0 ||
    dotted ||
    !NAME.test(owner) ||
    !NAME.test(name) ||
    !REVISION.test(revision) ||
    /\/\.|\.\/|\.lock$/.test(revision)
  ) {
    throw new EngineError(
      'invalid-request',
      `${JSON.stringify(id.slice(0, 120))} is neither a hub id (owner/name or owner/name@revision) nor an http(s) URL.`,
    );
  }
  return { owner, name, revision };
}

/**
 * The commit that `revision` names now. `hub`: base URL, ending in a slash.
 * @throws EngineError 'not-found' for a model or revision that the hub does not have, 'storage'; AbortError when cancelled.
 */
export async function resolveRevision(hub: URL, id: HubId, options: HttpOptions, signal?: AbortSignal): Promise<string> {
  const { owner, name, revision } = id;
  if (COMMIT.test(revision)) return revision;
  const url = new URL(`api/models/${owner}/${name}/revision/${encodeURIComponent(revision)}`, hub);
  const { text } = await ask(url, options, signal).catch((cause: unknown) => {
    if (!(cause instanceof EngineError) || cause.code !== 'not-found') throw cause;
    throw new EngineError(
      'not-found',
      `${hub.host} has no model ${owner}/${name} with a revision '${revision}'. Check the spelling; if it is private, pass a token.`,
      { cause },
    );
  });
  const sha = property(parseJson(text), 'sha');
  if (typeof sha === 'string' && COMMIT.test(sha)) return sha;
  throw new EngineError('storage', `${urlLabel(url)} did not answer with a commit. Is ${hub.origin} a model hub?`);
}

/**
 * Looks files up in the listing of one commit. It is fetched when first asked for, once, also when it fails: it is a means of
 * checking, without which a model still loads.
 */
export function hubListing(hub: URL, { owner, name, revision }: HubId, options: HttpOptions) {
  const url = new URL(`api/models/${owner}/${name}/tree/${encodeURIComponent(revision)}`, hub);
  let listing: SharedWork<Map<string, ExpectedFile>> | undefined;
  /** @throws AbortError only. */
  return async (file: string, signal?: AbortSignal): Promise<ExpectedFile | undefined> => {
    throwIfAborted(signal);
    if (!listing || listing.abandoned) listing = shareWork((all) => readListing(url, options, all));
    return (await listing.join(signal)).get(file);
  };
}

/** What could be read before anything went wrong. */
async function readListing(first: URL, options: HttpOptions, signal: AbortSignal): Promise<Map<string, ExpectedFile>> {
  const files = new Map<string, ExpectedFile>();
  try {
    let url: URL | undefined = first;
    for (let page = 0; url && page < MAX_PAGES; page++) {
      const answer: Answer = await ask(url, options, signal);
      const entries = parseJson(answer.text);
      if (!Array.isArray(entries)) break;
      for (const entry of entries) addEntry(files, entry);
      url = nextPage(first, answer.link);
    }
  } catch (error) {
    if (isAbort(error) || !(error instanceof EngineError)) throw error;
  }
  return files;
}

/** `{ type, path, size, oid, lfs?: { oid: sha256, size } }`; the outer oid is git's, of the blob or of the LFS pointer. */
function addEntry(files: Map<string, ExpectedFile>, entry: unknown): void {
  const path = property(entry, 'path');
  if (property(entry, 'type') !== 'file' || typeof path !== 'string' || files.has(path)) return;
  const lfs = property(entry, 'lfs');
  const [sha256, size] = [property(lfs, 'oid'), property(lfs, 'size') ?? property(entry, 'size')];
  const expected: ExpectedFile = {};
  if (typeof sha256 === 'string' && SHA256.test(sha256)) expected.sha256 = sha256;
  if (typeof size === 'number' && Number.isSafeInteger(size) && size >= 0) expected.byteLength = size;
  files.set(path, expected);
}

/** The page that a Link header names, of the same listing only: the request carries the token. */
function nextPage(first: URL, link: string | null): URL | undefined {
  const target = /<([^>]*)>\s*;[^,]*\brel="?next"?/i.exec(link ?? '')?.[1];
  if (target === undefined || !URL.canParse(target, first)) return undefined;
  const next = new URL(target, first);
  return next.origin === first.origin && next.pathname === first.pathname ? next : undefined;
}

type Answer = { text: string; link: string | null };

/** GET of a JSON answer. */
async function ask(url: URL, options: HttpOptions, signal?: AbortSignal): Promise<Answer> {
  const label = urlLabel(url);
  const tooLong = () => new EngineError('storage', `${label} is too long an answer (over ${MAX_ANSWER_BYTES} bytes).`);
  const read = async (found: HttpResponse): Promise<Answer> => {
    if (isWebPage(found.response)) {
      throw new HttpError('web-page', `${label} answered with a web page. Is ${url.origin} a model hub?`);
    }
    const bytes = await readBody(found, MAX_ANSWER_BYTES, tooLong);
    return { text: new TextDecoder().decode(bytes), link: found.response.headers.get('link') };
  };
  return withResponse(() => url.href, url.origin, options, { accept: 'application/json' }, read, signal);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function property(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    ? (value as Record<string, unknown>)[key]
    : undefined;
}
