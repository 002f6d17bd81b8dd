/**
 * A model hub on two ports, as the real one is on two hosts: the hub names files and redirects, the CDN delivers ranges behind
 * signed paths. Faults are switched on per test. Everything that arrives is logged, so a test can say what must not have.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export type Fault =
  /** 200 and the whole file, whatever range was asked for. */
  | 'no-ranges'
  /** A web page with status 200. */
  | 'html'
  /** Correct headers, half the body, then the connection is closed. */
  | 'short-body'
  /** 206 that claims and delivers fewer bytes than were asked for. */
  | 'short-range'
  | 'long-body'
  /** Headers, some bytes, and nothing more. */
  | 'hang'
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
  | 503;

export type Logged = { host: 'hub' | 'cdn'; method: string; path: string; headers: IncomingMessage['headers'] };

export type HubServer = {
  hubUrl: string;
  cdnUrl: string;
  log: Logged[];
  /** Called per request; what it returns happens in place of the right answer. */
  fault: ((request: Logged) => Fault | undefined) | undefined;
  /** File name -> bytes of the one model, `acme/tiny`. */
  files: Map<string, Uint8Array>;
  /** false: the hub delivers files itself, as a plain static server does. */
  redirect: boolean;
  /** Signatures made until now stop working (403). */
  expireSignatures(): void;
  close(): Promise<void>;
};

export const HUB_COMMIT = '0123456789abcdef0123456789abcdef01234567';
export const HUB_MODEL = 'acme/tiny';

export async function startHub(files: Map<string, Uint8Array>): Promise<HubServer> {
  let epoch = 1;
  const cdn = createServer((request, response) => {
    const { path, url } = note('cdn', request);
    if (Number(url.searchParams.get('signature')) !== epoch) return plain(response, 403, 'expired');
    deliver(request, response, decodeURIComponent(path.slice('/blobs/'.length)), 'cdn');
  });
  const hub = createServer((request, response) => {
    const { path } = note('hub', request);
    if (request.method === 'OPTIONS') return plain(response, 204, '');
    const fault = faultOf(request, 'hub');
    if (typeof fault === 'number') return plain(response, fault, 'fault', fault === 429 ? { 'Retry-After': '0' } : {});
    if (fault === 'reset') return request.socket.destroy();
    const revision = /^\/api\/models\/acme\/tiny\/revision\/([^/]+)$/.exec(path);
    if (revision) {
      const known = ['main', 'refs/pr/1', HUB_COMMIT].includes(decodeURIComponent(revision[1]!));
      if (!known) return plain(response, 404, '{"error":"Invalid rev id"}');
      return plain(response, 200, JSON.stringify({ id: HUB_MODEL, sha: HUB_COMMIT }), { 'Content-Type': 'application/json' });
    }
    const resolve = /^\/acme\/tiny\/resolve\/([^/]+)\/([^/]+)$/.exec(path);
    const name = decodeURIComponent(resolve?.[2] ?? path.slice(1));
    if (resolve && resolve[1] !== HUB_COMMIT) return plain(response, 404, 'no such revision');
    if (!self.files.has(name)) return plain(response, 404, 'Entry not found');
    if (!self.redirect) return deliver(request, response, name, 'hub');
    response.writeHead(302, {
      ...cors,
      Location: `${self.cdnUrl}/blobs/${encodeURIComponent(name)}?signature=${epoch}`,
      'X-Linked-Size': String(self.files.get(name)!.byteLength),
      'X-Repo-Commit': HUB_COMMIT,
    });
    response.end();
  });
  const self: HubServer = {
    hubUrl: '',
    cdnUrl: '',
    log: [],
    fault: undefined,
    files,
    redirect: true,
    expireSignatures: () => void epoch++,
    close: async () => {
      await Promise.all([stop(hub), stop(cdn)]);
    },
  };
  [self.hubUrl, self.cdnUrl] = await Promise.all([listen(hub), listen(cdn)]);
  return self;

  function note(host: Logged['host'], request: IncomingMessage): { path: string; url: URL } {
    const url = new URL(request.url ?? '/', 'http://localhost');
    self.log.push({ host, method: request.method ?? 'GET', path: url.pathname, headers: request.headers });
    return { path: url.pathname, url };
  }

  /** The hub host's faults are statuses and resets; the body faults happen where the body is sent. */
  function faultOf(_: IncomingMessage, host: Logged['host']): Fault | undefined {
    const last = self.log.at(-1)!;
    return last.host === host ? self.fault?.(last) : undefined;
  }

  function deliver(request: IncomingMessage, response: ServerResponse, name: string, host: Logged['host']): unknown {
    const bytes = self.files.get(name);
    if (!bytes) return plain(response, 404, 'no such blob');
    const fault = faultOf(request, host);
    if (typeof fault === 'number') return plain(response, fault, 'fault');
    if (fault === 'reset') return request.socket.destroy();
    if (fault === 'html')
      return plain(response, 200, '<!doctype html><title>Log in</title>', { 'Content-Type': 'text/html; charset=utf-8' });
    const range = fault === 'no-ranges' ? null : /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
    const start = range ? Number(range[1]) : 0;
    if (range && start >= bytes.byteLength) return plain(response, 416, '', { 'Content-Range': `bytes */${bytes.byteLength}` });
    let end = range?.[2] ? Math.min(Number(range[2]) + 1, bytes.byteLength) : bytes.byteLength;
    if (fault === 'short-range') end = start + Math.ceil((end - start) / 2);
    const shift = fault === 'wrong-content-range' ? 1 : 0;
    const headers: Record<string, string> = {
      ...cors,
      'Content-Type': 'application/octet-stream',
      ETag: `"${name}-${bytes.byteLength}"`,
    };
    if (range && fault !== 'no-content-range')
      headers['Content-Range'] = `bytes ${start + shift}-${end + shift - 1}/${bytes.byteLength}`;
    const extra = fault === 'long-body' ? 1 : 0;
    // Without Content-Length a short or long body is well-formed HTTP: only the client's own count can find it.
    if (fault !== 'short-body' && fault !== 'long-body' && fault !== 'hang') headers['Content-Length'] = String(end - start);
    response.writeHead(range ? 206 : 200, headers);
    if (request.method === 'HEAD') return response.end();
    const body = bytes.subarray(start, end);
    if (fault === 'hang') return response.write(body.subarray(0, 1));
    if (fault === 'short-body') return response.end(body.subarray(0, Math.floor(body.byteLength / 2)));
    response.end(extra ? Buffer.concat([body, new Uint8Array(extra)]) : body);
  }
}

const cors = {
  'Access-Control-Allow-Origin': '*',
  'Access-Control-Allow-Headers': 'authorization, range, x-api-key',
  'Access-Control-Expose-Headers':
    'Content-Range, Content-Length, ETag, Accept-Ranges, X-Repo-Commit, X-Linked-Size, X-Error-Code',
  'Accept-Ranges': 'bytes',
};

function plain(response: ServerResponse, status: number, body: string, headers: Record<string, string> = {}): void {
  response.writeHead(status, { ...cors, 'Content-Type': 'text/plain', ...headers });
  response.end(body);
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function stop(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve()));
}
