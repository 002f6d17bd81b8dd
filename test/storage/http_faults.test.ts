/** What can go wrong in the middle of a download, against the server over real sockets. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { EngineError, isAbort } from '../../src/errors';
import { openHttp, WHOLE_FILE_BYTES } from '../../src/storage/http';
import { type Fault, type HubServer, type Logged, startHub } from '../servers/hub_server';
import { patternBytes } from './contract';

const bytes = patternBytes(2_000_003);
const quick = { retryDelayMs: 1, tries: 3, stallMs: 10_000 };
let hub: HubServer;
beforeAll(async () => {
  hub = await startHub(new Map([['weights.bin', bytes]]));
});
afterEach(() => {
  hub.fault = undefined;
  hub.etag = undefined;
  hub.redirect = true;
  hub.bytesPerSecond = undefined;
  hub.latencyMs = 0;
  hub.files.set('weights.bin', bytes);
  hub.log.length = 0;
});
afterAll(() => hub.close());

const url = () => `${hub.hubUrl}/weights.bin`;
const atCdn = (fault: Fault) => (request: Logged) => (request.host === 'cdn' ? fault : undefined);
async function readAt(source: Awaited<ReturnType<typeof openHttp>>, start = 100_000, length = 1000) {
  const into = new Uint8Array(length);
  await source.read(start, into);
  expect(Buffer.compare(into, bytes.subarray(start, start + length))).toBe(0);
}
const read = (source: Awaited<ReturnType<typeof openHttp>>) => source.read(100_000, new Uint8Array(1000));

describe('a file that changes while it is read', () => {
  test('another ETag is refused, and told apart from a broken connection', async () => {
    const source = await openHttp(url(), quick);
    expect(source.etag).toBe('"weights.bin-2000003"');
    hub.etag = () => '"another"';
    const reading = read(source);
    await expect(reading).rejects.toMatchObject({ code: 'storage', reason: 'changed' });
    await expect(reading).rejects.toThrow(/another ETag.*changed while it was read.*Load the model again/);
    expect(source.etag).toBe('"weights.bin-2000003"');
    hub.etag = undefined;
    await readAt(source);
  });

  test.each([
    { first: 'W/"a"', later: 'W/"b"', why: 'weak ones say nothing about bytes' },
    { first: 'W/"a"', later: '"a"', why: 'a strong one after a weak one is the first' },
    { first: '"a"', later: 'W/"b"', why: 'a weak one after a strong one' },
    { first: undefined, later: '"a"', why: 'none at first' },
    { first: '"a"', later: undefined, why: 'none later' },
    { first: 'a', later: 'b', why: 'not an ETag' },
  ])('$first, then $later is no change: $why', async ({ first, later }) => {
    hub.etag = () => first;
    const source = await openHttp(url(), quick);
    hub.etag = () => later;
    await readAt(source);
    expect(source.etag).toBe([first, later].find((etag) => etag?.startsWith('"')));
  });

  test('another host may have another ETag for the same bytes', async () => {
    hub.etag = () => '"cdn"';
    const source = await openHttp(url(), quick);
    hub.expireSignatures();
    hub.redirect = false;
    hub.etag = () => '"hub"';
    await readAt(source);
    hub.etag = () => '"hub 2"';
    await expect(read(source)).rejects.toMatchObject({ reason: 'changed' });
  });

  test.each([
    { now: bytes.subarray(0, 1_500_000), says: /had 2000003 bytes and now has 1500000/, why: 'shorter' },
    { now: patternBytes(2_000_004), says: /had 2000003 bytes and now has 2000004/, why: 'longer' },
    { now: bytes.subarray(0, 70_000), says: /no bytes \[100000, 101000\) any more \(HTTP 416\)/, why: 'ends before the range' },
  ])('$why', async ({ now, says }) => {
    hub.etag = () => undefined;
    const source = await openHttp(url(), quick);
    hub.files.set('weights.bin', now);
    await expect(read(source)).rejects.toMatchObject({ reason: 'changed', message: expect.stringMatching(says) });
  });
});

describe('a connection that breaks', () => {
  test.each<Fault>(['reset-body', 'short-body'])('%s: the next attempt asks for the rest only', async (fault) => {
    hub.redirect = false;
    const source = await openHttp(url(), quick);
    hub.log.length = 0;
    hub.fault = () => (hub.log.length === 1 ? fault : undefined);
    await readAt(source, 200_000, 1_000_000);
    const [first, second, ...more] = hub.rangesOf('acme/tiny/weights.bin');
    expect([first, more]).toEqual([{ start: 200_000, end: 1_200_000 }, []]);
    expect(second!.end).toBe(1_200_000);
    expect(second!.start).toBeGreaterThan(200_000);
    expect(second!.start).toBeLessThanOrEqual(700_000);
    expect(hub.bytesSent()).toBeLessThanOrEqual(1_500_000);
  });

  test('also where the first attempt went to a redirected address', async () => {
    const source = await openHttp(url(), quick);
    hub.log.length = 0;
    hub.fault = (request) => (request.host === 'cdn' && hub.log.length === 1 ? 'short-body' : undefined);
    await readAt(source, 200_000, 1_000_000);
    expect(hub.rangesOf('acme/tiny/weights.bin')).toEqual([
      { start: 200_000, end: 1_200_000 },
      { start: 700_000, end: 1_200_000 },
    ]);
  });

  test.each([
    { fault: 'long-body' as const, why: 'what came is in doubt' },
    { fault: 'reset-end' as const, why: 'nothing was left to ask for' },
  ])('$fault: the whole range is asked for again, because $why', async ({ fault }) => {
    const source = await openHttp(url(), quick);
    hub.log.length = 0;
    hub.fault = (request) => (request.host === 'cdn' && hub.log.length === 1 ? fault : undefined);
    await readAt(source, 200_000, 1_000_000);
    const range = { start: 200_000, end: 1_200_000 };
    expect(hub.rangesOf('acme/tiny/weights.bin')).toEqual([range, range]);
  });
});

describe('how long it waits', () => {
  const slow = (status: number, retryAfter: string): Fault => ({ status, headers: { 'Retry-After': retryAfter } });
  /** ms between the first two requests. */
  const gap = () => hub.log[1]!.atMs - hub.log[0]!.atMs;

  test.each([
    { status: 429, retryAfter: () => '1', from: 950, to: 9000, why: 'seconds' },
    { status: 503, retryAfter: () => '1', from: 950, to: 9000, why: '5xx too' },
    {
      status: 429,
      retryAfter: () => new Date(Date.now() + 2000).toUTCString(),
      from: 900,
      to: 3100,
      why: 'a date, in whole seconds',
    },
    { status: 429, retryAfter: () => 'Thu, 01 Jan 1970 00:00:00 GMT', from: 0, to: 5000, why: 'a date gone by' },
    { status: 429, retryAfter: () => '-5', from: 0, to: 5000, why: 'nonsense' },
  ])('Retry-After of $status: $why', async ({ status, retryAfter, from, to }) => {
    hub.redirect = false;
    hub.fault = () => (hub.log.length === 1 ? slow(status, retryAfter()) : undefined);
    await openHttp(url(), quick);
    expect(gap()).toBeGreaterThanOrEqual(from);
    expect(gap()).toBeLessThan(to);
  });

  test('an hour is cut to the bound, and the message names it', async () => {
    hub.fault = () => slow(429, '3600');
    const opening = openHttp(url(), { ...quick, maxPauseMs: 50, tries: 2 });
    await expect(opening).rejects.toMatchObject({ reason: 'rate-limited', status: 429 });
    await expect(opening).rejects.toThrow(/wait 3600 s, as it asks \(HTTP 429\)\. \(tried 2 times\)/);
    expect(gap()).toBeGreaterThanOrEqual(49);
    expect(gap()).toBeLessThan(5000);
  });

  test('the pause before another attempt doubles', async () => {
    hub.fault = () => 503;
    await expect(openHttp(url(), { ...quick, retryDelayMs: 40, tries: 4 })).rejects.toMatchObject({ reason: 'server-fault' });
    const gaps = hub.log.slice(1).map(({ atMs }, i) => atMs - hub.log[i]!.atMs);
    for (const [i, least] of [20, 40, 80].entries()) expect(gaps[i]).toBeGreaterThanOrEqual(least - 1);
  });

  test('and differs from one to the next, so that those who failed together do not come back together', async () => {
    const names = Array.from({ length: 12 }, (_, i) => `${i}.bin`);
    for (const name of names) hub.files.set(name, bytes);
    const asked = (name: string) => hub.log.filter(({ path }) => path.endsWith(`/${name}`));
    hub.redirect = false;
    hub.fault = ({ path }) => (asked(path.split('/').at(-1)!).length === 1 ? 503 : undefined);
    await Promise.all(names.map((name) => openHttp(`${hub.hubUrl}/${name}`, { ...quick, retryDelayMs: 400 })));
    for (const name of names) hub.files.delete(name);
    const pauses = names.map((name) => asked(name)[1]!.atMs - asked(name)[0]!.atMs);
    expect(Math.min(...pauses)).toBeGreaterThanOrEqual(199);
    expect(Math.max(...pauses) - Math.min(...pauses)).toBeGreaterThan(100);
  });

  test('an abort ends a pause that the server asked for', async () => {
    hub.fault = () => slow(429, '3600');
    const opening = openHttp(url(), quick, AbortSignal.timeout(50));
    expect(isAbort(await opening.catch((error: unknown) => error))).toBe(true);
    expect(hub.log).toHaveLength(1);
  });
});

describe('a server that loses its ranges', () => {
  test('a small file is read whole, once', async () => {
    hub.redirect = false;
    const source = await openHttp(url(), quick);
    hub.log.length = 0;
    hub.fault = () => 'no-ranges';
    await readAt(source);
    await readAt(source, 1_500_000);
    expect(hub.log).toHaveLength(1);
  });

  test.each<Fault>(['no-ranges', 'no-ranges-no-length'])('a large one is refused before its body is read: %s', async (fault) => {
    const size = WHOLE_FILE_BYTES + 1;
    hub.redirect = false;
    hub.bytesPerSecond = 1 << 20;
    hub.files.set('large.bin', { size, read: (_, length) => new Uint8Array(length) });
    const source = await openHttp(`${hub.hubUrl}/large.bin`, quick);
    hub.log.length = 0;
    hub.fault = () => fault;
    await expect(source.read(100_000, new Uint8Array(10))).rejects.toMatchObject({
      reason: 'no-ranges',
      message: expect.stringMatching(/larger than 64 MiB.*ignores range requests.*Serve it/),
    });
    expect(hub.bytesSent()).toBeLessThan(1 << 20);
    hub.files.delete('large.bin');
  });
});

test('a web page that calls itself binary is refused in a whole file too', async () => {
  hub.files.set('page.json', new TextEncoder().encode('\uFEFF \n<!DOCTYPE html><p>Log in'));
  hub.fault = atCdn('no-ranges');
  await expect(openHttp(`${hub.hubUrl}/page.json`, quick)).rejects.toMatchObject({ code: 'not-found', reason: 'web-page' });
  hub.files.delete('page.json');
});

describe('several reads in flight', () => {
  test('each gets its bytes, and one that is cancelled takes no other with it', async () => {
    const source = await openHttp(url(), quick);
    hub.latencyMs = 30;
    const controller = new AbortController();
    const cancelled = source.read(300_000, new Uint8Array(1000), controller.signal);
    const others = Array.from({ length: 8 }, (_, i) => readAt(source, 100_000 + i * 200_000, 100_000));
    setTimeout(() => controller.abort(), 10);
    expect(isAbort(await cancelled.catch((error: unknown) => error))).toBe(true);
    await Promise.all(others);
  });

  test('all of them survive an address that expires', async () => {
    const source = await openHttp(url(), quick);
    hub.expireSignatures();
    await Promise.all(Array.from({ length: 8 }, (_, i) => readAt(source, 100_000 + i * 200_000)));
    hub.log.length = 0;
    await readAt(source, 70_000);
    expect(hub.log.map(({ host }) => host)).toEqual(['cdn']);
  });

  test('one that is cancelled in mid-body frees its connection', async () => {
    const source = await openHttp(url(), quick);
    hub.log.length = 0;
    hub.bytesPerSecond = 100_000;
    const controller = new AbortController();
    const reading = source.read(0, new Uint8Array(bytes.byteLength), controller.signal);
    setTimeout(() => controller.abort(), 200);
    expect(isAbort(await reading.catch((error: unknown) => error))).toBe(true);
    // The server learns of it with its next piece.
    const started = performance.now();
    for (let sent = -1; sent !== hub.bytesSent(); ) {
      sent = hub.bytesSent();
      expect(performance.now() - started).toBeLessThan(10_000);
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    expect(hub.bytesSent()).toBeLessThan(bytes.byteLength / 2);
  });
});

test('a large read fills the buffer as bytes come', async () => {
  const source = await openHttp(url(), quick);
  hub.bytesPerSecond = 1_000_000;
  const into = new Uint8Array(bytes.byteLength);
  const reading = source.read(0, into);
  const started = performance.now();
  while (into[100_000] !== bytes[100_000] || into[100_001] !== bytes[100_001]) {
    expect(performance.now() - started).toBeLessThan(5000);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  expect(into.subarray(-1000).every((byte) => byte === 0)).toBe(true);
  hub.bytesPerSecond = undefined;
  await reading;
  expect(Buffer.compare(into, bytes)).toBe(0);
});

test('no cache keeps a second copy of the weights', async () => {
  const source = await openHttp(url(), quick);
  await readAt(source);
  expect(hub.log.length).toBeGreaterThan(2);
  for (const { headers } of hub.log) expect(headers['cache-control']).toBe('no-cache'); // what fetch makes of no-store
});

test('every refusal crosses a worker boundary as code and message', async () => {
  hub.fault = () => 401;
  const error = await openHttp(url(), quick).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(EngineError);
  expect(error).toMatchObject({ code: 'storage', reason: 'unauthorized', status: 401, message: expect.stringContaining(url()) });
});
