import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { isAbort } from '../../src/errors';
import { openHttp } from '../../src/storage/http';
import type { HttpFailure } from '../../src/storage/http_error';
import { type Fault, type HubServer, type Logged, startHub } from '../servers/hub_server';
import { patternBytes } from './contract';

const bytes = patternBytes();
const quick = { retryDelayMs: 1, tries: 3, stallMs: 10_000 };
/** A busy machine can take 100 ms for an answer, so only where every request hangs may the clock be this short. */
const hanging = { ...quick, stallMs: 100 };
let hub: HubServer;
beforeAll(async () => {
  hub = await startHub(new Map([['weights.bin', bytes]]));
});
afterEach(() => {
  hub.fault = undefined;
  hub.redirect = true;
  hub.log.length = 0;
});
afterAll(() => hub.close());

const url = () => `${hub.hubUrl}/weights.bin`;
const count = (host: Logged['host']) => hub.log.filter((request) => request.host === host).length;
async function readAt(source: Awaited<ReturnType<typeof openHttp>>, start = 100_000, length = 1000) {
  const into = new Uint8Array(length);
  await source.read(start, into);
  expect(into).toEqual(bytes.slice(start, start + length));
}

test('later ranges go straight to where the redirect led; the first bytes are not fetched twice', async () => {
  const source = await openHttp(url(), quick);
  expect(source.label).toBe(url());
  await readAt(source, 0, 1000);
  await readAt(source);
  await readAt(source, 150_000);
  expect([count('hub'), count('cdn')]).toEqual([1, 3]);
});

test('an expired redirect is resolved again, once per expiry', async () => {
  const source = await openHttp(url(), quick);
  hub.expireSignatures();
  await readAt(source);
  await readAt(source, 150_000);
  expect(count('hub')).toBe(2);
});

test('an address that failed is not tried again, even if its successor needs no redirect', async () => {
  const source = await openHttp(url(), quick);
  hub.expireSignatures();
  hub.redirect = false;
  await readAt(source);
  await readAt(source, 150_000);
  expect([count('hub'), count('cdn')]).toEqual([3, 2]);
});

describe('secrets stay with the host that was asked', () => {
  const secret = (request: Logged) => request.headers.authorization ?? request.headers['x-api-key'];
  test.each([
    { options: { token: 'hf_secret' }, why: 'fetch follows, and drops Authorization' },
    { options: { headers: { 'X-Api-Key': 'secret' } }, why: 'followed by hand' },
    { options: { token: 'hf_secret', headers: { 'X-Api-Key': 'secret' } }, why: 'both' },
  ])('$options: $why', async ({ options }) => {
    const source = await openHttp(url(), { ...quick, ...options });
    await readAt(source);
    hub.expireSignatures();
    await readAt(source, 120_000);
    const [home, away] = [hub.log.filter(({ host }) => host === 'hub'), hub.log.filter(({ host }) => host === 'cdn')];
    expect(home.length).toBeGreaterThan(1);
    expect(home.every((request) => secret(request)?.includes('secret'))).toBe(true);
    expect(away.length).toBeGreaterThan(2);
    for (const request of away) expect(JSON.stringify(request.headers)).not.toContain('secret');
  });

  test('a token that HTTP cannot carry is refused without being shown', async () => {
    const failure = openHttp(url(), { ...quick, token: 'hf_secret\nx' });
    await expect(failure).rejects.toMatchObject({ code: 'invalid-request', message: expect.not.stringContaining('secret') });
    await expect(failure).rejects.not.toHaveProperty('cause');
  });

  test('a browser hides Location: headers with a redirect are an error that says what to do', async () => {
    const real = globalThis.fetch;
    globalThis.fetch = async (input, init) => {
      const response = await real(input, init);
      if (init?.redirect !== 'manual' || response.status !== 302) return response;
      return { type: 'opaqueredirect', status: 0, headers: new Headers(), body: null } as Response;
    };
    try {
      await expect(openHttp(url(), { ...quick, headers: { 'X-Api-Key': 'k' } })).rejects.toThrow(/Use `token`/);
      expect(count('cdn')).toBe(0);
    } finally {
      globalThis.fetch = real;
    }
  });
});

test('messages never show a query, where signatures are', async () => {
  hub.fault = ({ host }) => (host === 'cdn' ? 403 : undefined);
  await expect(openHttp(`${url()}?sig=secret`, quick)).rejects.toMatchObject({
    message: expect.not.stringMatching(/secret|signature/),
  });
});

describe('faults at open', () => {
  const faults: { fault: Fault; code: string; reason: HttpFailure; says: RegExp; requests: number }[] = [
    { fault: 401, code: 'storage', reason: 'unauthorized', says: /access token/, requests: 1 },
    { fault: 403, code: 'storage', reason: 'forbidden', says: /403/, requests: 1 },
    { fault: 404, code: 'not-found', reason: 'missing', says: /does not exist/, requests: 1 },
    { fault: 429, code: 'storage', reason: 'rate-limited', says: /too many requests.*tried 3 times/s, requests: 3 },
    { fault: 500, code: 'storage', reason: 'server-fault', says: /server fault/, requests: 3 },
    { fault: 503, code: 'storage', reason: 'server-fault', says: /server fault/, requests: 3 },
    { fault: 'reset', code: 'storage', reason: 'unreachable', says: /could not be reached.*CORS/s, requests: 3 },
    { fault: 'html', code: 'not-found', reason: 'web-page', says: /web page/, requests: 1 },
    { fault: 'hang', code: 'storage', reason: 'stalled', says: /sent nothing for 0\.1 s/, requests: 3 },
    { fault: 'short-body', code: 'storage', reason: 'cut-off', says: /of 65536 bytes/, requests: 3 },
    { fault: 'long-body', code: 'storage', reason: 'wrong-range', says: /more than the 65536/, requests: 1 },
    { fault: 'reset-body', code: 'storage', reason: 'unreachable', says: /connection broke/, requests: 3 },
    { fault: 'html-unnamed', code: 'not-found', reason: 'web-page', says: /web page/, requests: 1 },
    { fault: 'silent', code: 'storage', reason: 'stalled', says: /sent nothing for 0\.1 s/, requests: 3 },
    { fault: { status: 501 }, code: 'storage', reason: 'status', says: /501.*Check the address/, requests: 1 },
    { fault: { status: 520 }, code: 'storage', reason: 'server-fault', says: /520/, requests: 3 },
    { fault: 'short-range', code: 'storage', reason: 'wrong-range', says: /Content-Range/, requests: 1 },
    { fault: 'wrong-content-range', code: 'storage', reason: 'wrong-range', says: /Content-Range/, requests: 1 },
  ];
  test.each(faults)('$fault -> $code, $reason', async ({ fault, code, reason, says, requests }) => {
    hub.redirect = false;
    hub.fault = () => fault;
    const opening = openHttp(url(), fault === 'hang' || fault === 'silent' ? hanging : quick);
    await expect(opening).rejects.toMatchObject({ name: 'EngineError', code, reason, message: expect.stringMatching(says) });
    expect(count('hub')).toBe(requests);
  });

  test('416 to a file that has bytes', async () => {
    hub.redirect = false;
    hub.fault = ({ method }) => (method === 'GET' ? 416 : undefined);
    const source = await openHttp(url(), quick); // no Content-Range in that 416: the size comes from HEAD
    await expect(source.read(100_000, new Uint8Array(10))).rejects.toMatchObject({
      code: 'storage',
      message: expect.stringMatching(/416/),
    });
  });
});

describe('faults in a later range', () => {
  test.each<Fault>([
    401,
    403,
    404,
    416,
    429,
    500,
    'reset',
    'html',
    'short-body',
    'reset-body',
    'long-body',
    'short-range',
    'wrong-content-range',
  ])('%s at the redirect host', async (fault) => {
    const source = await openHttp(url(), quick);
    hub.fault = ({ host }) => (host === 'cdn' ? fault : undefined);
    await expect(source.read(100_000, new Uint8Array(1000))).rejects.toMatchObject({ name: 'EngineError' });
    hub.fault = undefined;
    await readAt(source);
  });

  test.each<Fault>([503, 429, 'reset', 'hang', 'silent', 'short-body', 'reset-body'])('%s once is retried', async (fault) => {
    hub.redirect = false;
    const source = await openHttp(url(), { ...quick, stallMs: fault === 'hang' || fault === 'silent' ? 2000 : quick.stallMs });
    hub.log.length = 0;
    hub.fault = () => (hub.log.length === 1 ? fault : undefined);
    await readAt(source);
    expect(count('hub')).toBe(2);
  });
});

test('hidden Content-Range: the size comes from HEAD, ranges are still checked by length', async () => {
  hub.fault = () => 'no-content-range';
  const source = await openHttp(url(), quick);
  expect(source.size).toBe(bytes.byteLength);
  await readAt(source);
  hub.fault = () => 'short-body';
  await expect(source.read(100_000, new Uint8Array(10))).rejects.toMatchObject({ code: 'storage' });
});

test('no ranges: a small file is fetched once and kept; one of 65 MiB is refused without being kept', async () => {
  hub.fault = () => 'no-ranges';
  hub.redirect = false;
  const source = await openHttp(url(), quick);
  await readAt(source);
  await readAt(source, 150_000);
  expect(count('hub')).toBe(1);
  hub.files.set('large.bin', new Uint8Array(65 << 20));
  await expect(openHttp(`${hub.hubUrl}/large.bin`, quick)).rejects.toMatchObject({
    code: 'storage',
    message: expect.stringMatching(/larger than 64 MiB.*ignores range/),
  });
  hub.files.delete('large.bin');
});

test.each<[Fault, number]>([
  ['hang', 4],
  ['hang', 1],
  [503, 4],
  ['reset', 4],
])('abort ends %s (%d tries) at once: a transfer, or the pause before another try', async (fault, tries) => {
  const patient = { retryDelayMs: 60_000, stallMs: 60_000, tries };
  hub.redirect = false;
  hub.fault = () => fault;
  const controller = new AbortController();
  const opening = openHttp(url(), patient, controller.signal);
  setTimeout(() => controller.abort(new Error('own reason')), 30);
  const error = await opening.catch((reason: unknown) => reason);
  expect(isAbort(error)).toBe(true);
});

test.each(['ftp://h/x', 'file:///etc/passwd', 'http://user:pass@h/x', 'https://token@h/x', 'nonsense', ''])(
  'refuses %s',
  async (bad) => {
    const failure = openHttp(bad, quick);
    await expect(failure).rejects.toMatchObject({ code: 'invalid-request', message: expect.not.stringMatching(/:pass|token@/) });
  },
);
