/** The servers that the pages of these tests come from. All on 127.0.0.1 and a port of their own, so each is an origin of its own. */
import { createReadStream, statSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createServer as createViteServer } from 'vite';

export const repository = fileURLToPath(new URL('../..', import.meta.url));

/**
 * Lets nothing leave the origin, in page and workers alike: a request elsewhere is blocked, is a console error, and is reported to
 * `REPORT_PATH` (the socket is the dev server's own). Watching requests from outside is not enough, since WebDriver BiDi shows none that a worker makes.
 */
const REPORT_PATH = '/csp-report';
export const sealed = {
  'Content-Security-Policy':
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self' ws://127.0.0.1:*; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
    `worker-src 'self'; form-action 'none'; report-uri ${REPORT_PATH}`,
};

/** Where dev servers keep packages as they give them, all in one place. */
export const DEV_CACHE = 'node_modules/.vite-browser-tests';

/** What a CDN sends, and no more. */
export const shared = { 'Access-Control-Allow-Origin': '*' };

export type TestServer = {
  /** Ends in a slash; includes the base path. */
  url: string;
  /** Violations of `sealed` that browsers reported. */
  reports: string[];
  /** Paths of requests that were answered with 404. */
  missing: string[];
  /** Paths of all requests to a static server, in order. */
  asked: string[];
  /** What came to the `inbox`. */
  posted: string[];
  close(): Promise<void>;
};

export type StaticOptions = {
  folder: string;
  /** With slashes at both ends. */
  basePath?: string;
  headers?: Record<string, string>;
  /** Pages made up for a test: path below the base path -> HTML. */
  pages?: Record<string, string>;
  /** A path that takes what is posted to it, into `posted`. */
  inbox?: string;
};

/** Serves a folder as a plain static host does: ranges, types, no compression. */
export async function startStaticServer({
  folder,
  basePath = '/',
  headers = {},
  pages = {},
  inbox,
}: StaticOptions): Promise<TestServer> {
  const reports: string[] = [];
  const posted: string[] = [];
  const missing: string[] = [];
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? '/', 'http://localhost').pathname);
    asked.push(path);
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    if (path === REPORT_PATH) return void collect(request, response, reports);
    if (path === inbox && request.method === 'POST') return void collect(request, response, posted);
    const name = path.slice(basePath.length);
    const page = pages[name] ?? pages[`${name}index.html`];
    if (path.startsWith(basePath) && page !== undefined) return void sendPage(response, path, page);
    const file = path.startsWith(basePath) ? fileAt(folder, path.slice(basePath.length)) : undefined;
    if (file) return sendFile(request, response, file);
    missing.push(path);
    response.writeHead(404).end('not found');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}${basePath}`,
    reports,
    missing,
    asked,
    posted,
    close() {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

/**
 * Vite's dev server, as `npm start` runs it, but deaf to changes: a file that is saved while the tests run must not reload the page
 * under them. Its own cache, because two servers that write one optimise dependencies at the same time.
 */
export async function startDevServer({
  headers = {},
  withoutSanitiser = false,
}: {
  headers?: Record<string, string>;
  /** Replies go to the page as the renderer made them. */
  withoutSanitiser?: boolean;
} = {}): Promise<TestServer> {
  const reports: string[] = [];
  const server = await createViteServer({
    root: repository,
    configFile: join(repository, 'vite.config.ts'),
    cacheDir: join(repository, DEV_CACHE),
    logLevel: 'warn',
    clearScreen: false,
    server: { host: '127.0.0.1', port: 0, watch: null, open: false, headers },
    plugins: [
      {
        name: 'sluice:csp-reports',
        configureServer: ({ middlewares }) =>
          void middlewares.use(REPORT_PATH, (request, response) => void collect(request, response, reports)),
        transform(code, id) {
          if (withoutSanitiser && id.endsWith('/demo/markdown/sanitise.ts')) return code.replace('purifier.sanitize(root);', '');
        },
      },
    ],
  });
  await server.listen();
  const { port } = server.httpServer!.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/`, reports, missing: [], asked: [], posted: [], close: () => server.close() };
}

async function collect(request: IncomingMessage, response: ServerResponse, reports: string[]): Promise<void> {
  let text = '';
  for await (const piece of request) text += piece;
  reports.push(text);
  response.writeHead(204).end();
}

function sendPage(response: ServerResponse, path: string, text: string): void {
  response.setHeader('Content-Type', TYPES[extname(path)] ?? 'text/html; charset=utf-8');
  response.end(text);
}

function fileAt(folder: string, path: string): string | undefined {
  const file = normalize(join(folder, path === '' || path.endsWith('/') ? `${path}index.html` : path));
  if (!file.startsWith(folder + sep)) return undefined;
  return statSync(file, { throwIfNoEntry: false })?.isFile() ? file : undefined;
}

const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
  '.map': 'application/json',
};

function sendFile(request: IncomingMessage, response: ServerResponse, file: string): void {
  const { size } = statSync(file);
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
  const start = range ? Number(range[1]) : 0;
  const end = Math.min(range?.[2] ? Number(range[2]) + 1 : size, size);
  response.setHeader('Content-Type', TYPES[extname(file)] ?? 'application/octet-stream');
  response.setHeader('Accept-Ranges', 'bytes');
  if (start > end || (range && start >= size)) {
    response.writeHead(416, { 'Content-Range': `bytes */${size}` }).end();
    return;
  }
  if (range) response.setHeader('Content-Range', `bytes ${start}-${end - 1}/${size}`);
  response.writeHead(range ? 206 : 200, { 'Content-Length': end - start });
  if (request.method === 'HEAD' || end === start) response.end();
  else createReadStream(file, { start, end: end - 1 }).pipe(response);
}
