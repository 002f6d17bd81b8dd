/**
 * A model hub on two ports, as the real one is on two hosts: the hub names files and redirects, the CDN delivers ranges behind
 * signed paths. Pages of any origin may read both, as they may the real ones. Faults are switched on per test, speed and latency
 * at any time. Everything that arrives is logged, so a test can say what must not have.
 *
 * Addresses: `/api/models/{owner}/{name}/revision/{revision}` and `…/tree/{commit}`, `/{owner}/{name}/resolve/{commit}/{file}`, and,
 * as a plain static server has them, `/{file}` for files of the first model and `/{owner}/{name}/{file}` for those of the others.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { type FileContent, readContent, sizeOf } from './hub_files';
import { listTree } from './hub_tree';
import { SharedRate } from './shared_rate';

export { type FileContent, fileContent, type LazyFile } from './hub_files';

export type Fault =
  /** 200 and the whole file, whatever range was asked for. */
  | 'no-ranges'
  /** The same without Content-Length. */
  | 'no-ranges-no-length'
  /** A web page with status 200. */
  | 'html'
  /** A web page with status 206 that calls itself binary. */
  | 'html-unnamed'
  /** Half the body, then a proper end. */
  | 'short-body'
  /** The right Content-Length, half the body, then the connection breaks. */
  | 'reset-body'
  /** All of the body without Content-Length, and in place of its end the connection breaks. */
  | 'reset-end'
  /** 206 that claims and delivers fewer bytes than were asked for. */
  | 'short-range'
  | 'long-body'
  /** Headers, some bytes, and nothing more. */
  | 'hang'
  /** Nothing at all, on a connection that stays open. */
  | 'silent'
  | 'wrong-content-range'
  | 'no-content-range'
  /** Closes the connection before a response. */
  | 'reset'
  | 401
  | 403
  | 404
  | 416
  | 429
  | 500
  | 503
  /** Any answer. */
  | { status: number; headers?: Record<string, string>; body?: string };

export type Logged = {
  host: 'hub' | 'cdn';
  method: string;
  path: string;
  headers: IncomingMessage['headers'];
  /** `owner/name/file`, where the request is for a file that is there. */
  file: string | undefined;
  /** The bytes asked for, half-open; `end` undefined where the request names none. */
  range: { start: number; end: number | undefined } | undefined;
  /** When it came, ms of performance.now(). */
  atMs: number;
  /** Bytes of body handed to the socket so far. A connection that breaks may lose the last of them. */
  sentBytes: number;
};

export type HubServer = {
  hubUrl: string;
  cdnUrl: string;
  log: Logged[];
  /** Called once per request; what it returns happens in place of the right answer. */
  fault: ((request: Logged) => Fault | undefined) | undefined;
  /** File name -> content of the first model, `acme/tiny`. */
  files: Map<string, FileContent>;
  /** `owner/name` -> files of the other models. */
  models: Map<string, Map<string, FileContent>>;
  /** false: the hub delivers files itself, as a plain static server does. */
  redirect: boolean;
  /** The ETag of `owner/name/file`, undefined for none. Where this is not set, it is made of name and size. */
  etag: ((file: string) => string | undefined) | undefined;
  /** The Last-Modified of `owner/name/file`; none where this is not set. */
  lastModified: ((file: string) => string) | undefined;
  /** Wait before each response, ms. */
  latencyMs: number;
  /** All bodies of all connections together; undefined: no limit. 0: nothing moves until it changes. */
  bytesPerSecond: number | undefined;
  /** Entries of a listing per page. */
  treePageSize: number;
  /** Body bytes sent since the log was last emptied, of `owner/name/file` or of everything. */
  bytesSent(file?: string): number;
  /** Ranges of `owner/name/file` that reached the host which delivers it, in order of arrival, since the log was last emptied. */
  rangesOf(file: string): NonNullable<Logged['range']>[];
  /** Signatures made until now stop working (403). */
  expireSignatures(): void;
  close(): Promise<void>;
};

export const HUB_COMMIT = '0123456789abcdef0123456789abcdef01234567';
export const HUB_MODEL = 'acme/tiny';

const WITHOUT_LENGTH = new Set<Fault | undefined>(['short-body', 'long-body', 'hang', 'reset-end', 'no-ranges-no-length']);

/** Handed to the socket at a time, bytes: this bounds what a lazy file holds in memory per connection. */
const PIECE_BYTES = 256 << 10;

export async function startHub(
  files: Map<string, FileContent>,
  models: Map<string, Map<string, FileContent>> = new Map(),
): Promise<HubServer> {
  let epoch = 1;
  const rate = new SharedRate(() => self.bytesPerSecond);
  const cdn = createServer((request, response) => {
    answer('cdn', request, response, answerCdn).catch((error: unknown) => fail(response, error));
  });
  const hub = createServer((request, response) => {
    answer('hub', request, response, answerHub).catch((error: unknown) => fail(response, error));
  });
  const self: HubServer = {
    hubUrl: '',
    cdnUrl: '',
    log: [],
    fault: undefined,
    files,
    models,
    redirect: true,
    etag: undefined,
    lastModified: undefined,
    latencyMs: 0,
    bytesPerSecond: undefined,
    treePageSize: 1000,
    bytesSent: (file) =>
      self.log.reduce((sum, logged) => sum + (file === undefined || logged.file === file ? logged.sentBytes : 0), 0),
    rangesOf: (file) => self.log.flatMap(({ file: of, range, host }) => (of === file && delivers(host) && range ? [range] : [])),
    expireSignatures: () => void epoch++,
    close: async () => {
      await Promise.all([stop(hub), stop(cdn)]);
    },
  };
  [self.hubUrl, self.cdnUrl] = await Promise.all([listen(hub), listen(cdn)]);
  return self;

  function delivers(host: Logged['host']): boolean {
    return host === 'cdn' || !self.redirect;
  }

  /** Notes the request and asks for a fault, once. */
  async function answer(
    host: Logged['host'],
    request: IncomingMessage,
    response: ServerResponse,
    reply: (exchange: Exchange) => unknown,
  ): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://localhost');
    const logged: Logged = {
      host,
      method: request.method ?? 'GET',
      path: url.pathname,
      headers: request.headers,
      file: undefined,
      range: rangeOf(request),
      atMs: performance.now(),
      sentBytes: 0,
    };
    logged.file = fileNamed(host, url.pathname);
    self.log.push(logged);
    if (self.latencyMs > 0) await sleep(self.latencyMs);
    if (request.method === 'OPTIONS') return plain(response, 204, '');
    await reply({ url, logged, fault: self.fault?.(logged), request, response });
  }

  function filesOf(model: string): Map<string, FileContent> | undefined {
    return model === HUB_MODEL ? self.files : self.models.get(model);
  }

  function contentOf(file: string): FileContent | undefined {
    const at = file.lastIndexOf('/');
    return filesOf(file.slice(0, at))?.get(file.slice(at + 1));
  }

  /** The `owner/name/file` of a path, if there is one. Only the hub's own dialect knows revisions. */
  function fileNamed(host: Logged['host'], path: string): string | undefined {
    const resolve = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/([^/]+)$/.exec(path);
    if (resolve && (host !== 'hub' || resolve[2] !== HUB_COMMIT)) return undefined;
    const plainPath = host === 'cdn' ? path.slice('/blobs/'.length) : path.slice(1);
    const [model, name] = resolve ? [resolve[1]!, resolve[3]!] : splitPath(plainPath);
    const file = `${model}/${decodeURIComponent(name)}`;
    return contentOf(file) === undefined ? undefined : file;
  }

  function answerCdn(exchange: Exchange): unknown {
    const { url, logged, response } = exchange;
    if (Number(url.searchParams.get('signature')) !== epoch) return plain(response, 403, 'expired');
    if (logged.file === undefined) return plain(response, 404, 'no such blob');
    return deliver(exchange, logged.file);
  }

  /** Of faults the hub has statuses and resets; those of bodies happen where the body is sent. */
  async function answerHub(exchange: Exchange): Promise<unknown> {
    const { url, logged, fault, response } = exchange;
    if (refuse(exchange)) return;
    const api = /^\/api\/models\/([^/]+\/[^/]+)\/(revision|tree)\/([^/]+)$/.exec(url.pathname);
    if (api) {
      const [, model = '', call, revision = ''] = api;
      const held = filesOf(model);
      if (!held) return plain(response, 401, '{"error":"Repository not found"}', { 'X-Error-Code': 'RepoNotFound' });
      const known = ['main', 'refs/pr/1', HUB_COMMIT].includes(decodeURIComponent(revision));
      if (!known) return plain(response, 404, '{"error":"Invalid rev id"}');
      if (fault === 'html') return sendWebPage(response);
      if (call === 'revision') return sendJson(response, { id: model, sha: HUB_COMMIT });
      const { entries, next } = await listTree(held, Number(url.searchParams.get('cursor') ?? 0), self.treePageSize);
      const more = `<${self.hubUrl}${url.pathname}?cursor=${next}>; rel="next"`;
      return sendJson(response, entries, next === undefined ? {} : { Link: more });
    }
    if (logged.file === undefined) return plain(response, 404, 'Entry not found', { 'X-Error-Code': 'EntryNotFound' });
    if (!self.redirect) return deliver(exchange, logged.file);
    const short = logged.file.startsWith(`${HUB_MODEL}/`) ? logged.file.slice(HUB_MODEL.length + 1) : logged.file;
    response.writeHead(302, {
      ...cors,
      Location: `${self.cdnUrl}/blobs/${short.split('/').map(encodeURIComponent).join('/')}?signature=${epoch}`,
      'X-Linked-Size': String(sizeOf(contentOf(logged.file)!)),
      'X-Repo-Commit': HUB_COMMIT,
    });
    response.end();
  }

  /** true if the fault is one that leaves nothing to deliver. */
  function refuse({ fault, logged, request, response }: Exchange): boolean {
    if (fault === 'reset') request.socket.destroy();
    else if (typeof fault === 'number') plain(response, fault, 'fault', fault === 429 ? { 'Retry-After': '0' } : {});
    else if (typeof fault === 'object') plain(response, fault.status, fault.body ?? 'fault', fault.headers);
    // Where the hub redirects, a file is silent at the CDN.
    else if (fault !== 'silent' || (logged.file !== undefined && !delivers(logged.host))) return false;
    return true;
  }

  async function deliver(exchange: Exchange, file: string): Promise<unknown> {
    const { fault, request, response, logged } = exchange;
    const content = contentOf(file)!;
    const size = sizeOf(content);
    if (refuse(exchange)) return;
    if (fault === 'html') return sendWebPage(response);
    const range = fault === 'no-ranges' || fault === 'no-ranges-no-length' ? undefined : logged.range;
    const start = range?.start ?? 0;
    if (range && start >= size) return plain(response, 416, '', { 'Content-Range': `bytes */${size}` });
    let end = Math.min(range?.end ?? size, size);
    if (fault === 'short-range') end = start + Math.ceil((end - start) / 2);
    const shift = fault === 'wrong-content-range' ? 1 : 0;
    const headers: Record<string, string> = { ...cors, 'Content-Type': 'application/octet-stream' };
    const etag = self.etag ? self.etag(file) : `"${file.slice(file.lastIndexOf('/') + 1)}-${size}"`;
    if (etag !== undefined) headers.ETag = etag;
    if (self.lastModified) headers['Last-Modified'] = self.lastModified(file);
    if (range && fault !== 'no-content-range') headers['Content-Range'] = `bytes ${start + shift}-${end + shift - 1}/${size}`;
    // Without Content-Length a short or long body is well-formed HTTP: only the client's own count can find it.
    if (!WITHOUT_LENGTH.has(fault)) headers['Content-Length'] = String(end - start);
    response.writeHead(range ? 206 : 200, headers);
    if (request.method === 'HEAD') return response.end();
    if (fault === 'html-unnamed') return response.end(webPage.padEnd(end - start));
    const half = start + Math.floor((end - start) / 2);
    if (fault === 'hang') return send(exchange, content, start, start + 1);
    if (fault === 'short-body' || fault === 'reset-body') {
      await send(exchange, content, start, half);
      return fault === 'reset-body' ? response.destroy() : response.end();
    }
    await send(exchange, content, start, end);
    if (fault === 'reset-end') return response.destroy();
    response.end(fault === 'long-body' ? new Uint8Array(1) : undefined);
  }

  /** Resolves once all of it has left for the socket, or the connection is gone. */
  async function send({ response, logged }: Exchange, content: FileContent, start: number, end: number): Promise<void> {
    const gone = () => response.destroyed;
    for (let at = start; at < end && !gone(); ) {
      const length = Math.min(end - at, PIECE_BYTES, rate.pieceBytes());
      await rate.take(length, gone);
      if (gone()) return;
      const bytes = await readContent(content, at, length);
      await new Promise<void>((resolve) => {
        response.once('close', resolve);
        response.write(bytes, () => {
          response.off('close', resolve);
          resolve();
        });
      });
      logged.sentBytes += length;
      at += length;
    }
  }
}

type Exchange = {
  url: URL;
  logged: Logged;
  fault: Fault | undefined;
  request: IncomingMessage;
  response: ServerResponse;
};

/** `file` or `owner/name/file` -> model and file. */
function splitPath(path: string): [model: string, name: string] {
  const parts = path.split('/');
  return parts.length === 3 ? [`${parts[0]}/${parts[1]}`, parts[2]!] : [HUB_MODEL, path];
}

function rangeOf(request: IncomingMessage): Logged['range'] {
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
  return range ? { start: Number(range[1]), end: range[2] ? Number(range[2]) + 1 : undefined } : undefined;
}

const cors = {
  'Access-Control-Allow-Origin': '*',
  'Access-Control-Allow-Headers': 'authorization, range, x-api-key',
  // Retry-After is not among them, there as here.
  'Access-Control-Expose-Headers':
    'Content-Range, Content-Length, ETag, Link, Accept-Ranges, X-Repo-Commit, X-Linked-Size, X-Error-Code',
  'Accept-Ranges': 'bytes',
};

const webPage = '<!doctype html><title>Log in</title>';

function sendWebPage(response: ServerResponse): void {
  plain(response, 200, webPage, { 'Content-Type': 'text/html; charset=utf-8' });
}

function sendJson(response: ServerResponse, value: unknown, headers: Record<string, string> = {}): void {
  plain(response, 200, JSON.stringify(value), { 'Content-Type': 'application/json', ...headers });
}

function plain(response: ServerResponse, status: number, body: string, headers: Record<string, string> = {}): void {
  response.writeHead(status, { ...cors, 'Content-Type': 'text/plain', ...headers });
  response.end(body);
}

/** A path that cannot be decoded, a file that cannot be read. */
function fail(response: ServerResponse, error: unknown): void {
  if (response.headersSent) response.destroy();
  else plain(response, 500, String(error));
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function stop(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve()));
}
