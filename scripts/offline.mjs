/** What makes the built page an app that starts without a network: its manifest, its icons, and a service worker that knows this build's files. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

const folder = new URL('../demo/offline/', import.meta.url);
const icons = ['icon-192.png', 'icon-512.png', 'icon-180.png'];
const links = [
  { tag: 'link', attrs: { rel: 'manifest', href: './manifest.webmanifest' }, injectTo: 'head' },
  { tag: 'link', attrs: { rel: 'apple-touch-icon', href: './icon-180.png' }, injectTo: 'head' },
];

/** @returns {import('vite').Plugin} */
export function offline() {
  return {
    name: 'sluice:offline',
    apply: 'build',
    enforce: 'post',
    transformIndexHtml: (html, { path }) => (path === '/index.html' ? { html, tags: links } : html),
    generateBundle: {
      order: 'post',
      handler(_, bundle) {
        if (!bundle['index.html']) return;
        for (const name of [...icons, 'manifest.webmanifest'])
          this.emitFile({ type: 'asset', fileName: name, source: readFileSync(new URL(name, folder)) });
        this.emitFile({ type: 'asset', fileName: 'service-worker.js', source: serviceWorker(bundle) });
      },
    },
  };
}

/** Of other pages the code that they share with this one; of weights nothing. */
function serviceWorker(bundle) {
  const files = ['./', 'manifest.webmanifest', ...icons, ...namedFrom(bundle, 'index.html').sort()];
  const version = createHash('sha256').update(files.join('\n')).update(bundle['index.html'].source).digest('hex').slice(0, 16);
  const source = readFileSync(new URL('service_worker.js', folder), 'utf8');
  return source.replace('__SHELL__', JSON.stringify({ version, files }));
}

/** The assets that `page` names, and those that they name in turn: scripts, styles, workers and what these load. Names hold a hash, so text tells. */
function namedFrom(bundle, page) {
  const others = new Set(Object.keys(bundle).filter((name) => /^assets\/.*\.(?:js|css|svg|wasm)$/.test(name)));
  const found = [page];
  for (const name of found) {
    const text = textOf(bundle[name]);
    for (const other of others) {
      if (!text.includes(other.slice(other.lastIndexOf('/') + 1))) continue;
      others.delete(other);
      found.push(other);
    }
  }
  return found.slice(1);
}

const textOf = ({ code, source }) => code ?? (typeof source === 'string' ? source : Buffer.from(source).toString('latin1'));
