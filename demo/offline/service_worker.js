/**
 * The page without a network. Keeps the files of one build of the page, and answers for them alone: not for ranges, weights, other origins, or
 * anything that is not in the list. A page and the workers it starts come from the same build, because a new one takes over only when no
 * page of the old one is open, or when the only one that is asks for it. The build puts the list in (scripts/offline.mjs).
 */
/** @type {{ version: string, files: string[] }} `files`: relative to the page; './' is the page itself. */
const shell = __SHELL__;

const PREFIX = 'sluice-shell-';
const cacheName = PREFIX + shell.version;
const { scope } = self.registration;
const addresses = new Set(shell.files.map((file) => new URL(file, scope).href));

self.addEventListener('install', (event) => event.waitUntil(fill()));
self.addEventListener('activate', (event) => event.waitUntil(forgetOthers()));

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const address = addressOf(request);
  if (request.method === 'GET' && !request.headers.has('range') && addresses.has(address))
    event.respondWith(answer(address, request));
});

self.addEventListener('message', (event) => {
  if (event.data === 'take-over') event.waitUntil(takeOver());
});

/** All files, or the worker is not installed at all. Past the HTTP cache, which may hold a file of another build under the same name. */
async function fill() {
  const cache = await caches.open(cacheName);
  await cache.addAll([...addresses].map((address) => new Request(address, { cache: 'reload' })));
}

async function forgetOthers() {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith(PREFIX) && name !== cacheName).map((name) => caches.delete(name)));
}

/** Of the page itself, query and file name make no difference. */
function addressOf(request) {
  const url = new URL(request.url);
  url.hash = '';
  if (request.mode !== 'navigate') return url.href;
  url.search = '';
  return url.href === new URL('index.html', scope).href ? scope : url.href;
}

/** Names hold a hash of what is in them, so what the cache has lost can be fetched without mixing builds. */
async function answer(address, request) {
  const cache = await caches.open(cacheName);
  return (await cache.match(address)) ?? fetch(request);
}

/** A page of another tab would be left with a build whose files are gone. Other pages of the origin have nothing to do with it. */
async function takeOver() {
  const windows = await self.clients.matchAll({ type: 'window', includeUncontrolled: true });
  if (windows.filter(({ url }) => url.startsWith(scope)).length <= 1) await self.skipWaiting();
}
