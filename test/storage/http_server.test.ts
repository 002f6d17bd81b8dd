/** The test server itself: what measurements rely on. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { openHttp } from '../../src/storage/http';
import { openModel } from '../../src/storage/model_ref';
import { fileContent, HUB_COMMIT, type HubServer, startHub } from '../servers/hub_server';
import { patternBytes } from './contract';

const bytes = patternBytes(400_000);
let hub: HubServer;
beforeEach(async () => {
  hub = await startHub(new Map([['weights.bin', bytes]]));
  hub.redirect = false;
});
afterEach(() => hub.close());

/** Bytes of body. */
async function get(range?: string): Promise<number> {
  const response = await fetch(`${hub.hubUrl}/weights.bin`, range ? { headers: { Range: range } } : {});
  return (await response.arrayBuffer()).byteLength;
}
async function elapsedMs(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

describe('the rate', () => {
  test('is shared by all connections', async () => {
    hub.bytesPerSecond = 1_000_000;
    const together = await elapsedMs(() => Promise.all([get(), get(), get()]));
    expect(together).toBeGreaterThan(1100); // 1.2 MB, less what may be made up for
    expect(together).toBeLessThan(5000);
  });

  test('changes at once: to a standstill, and to no limit', async () => {
    hub.bytesPerSecond = 100_000;
    const loading = get();
    await vi.waitFor(() => expect(hub.bytesSent()).toBeGreaterThan(0), { timeout: 5000 });
    hub.bytesPerSecond = 0;
    await new Promise((resolve) => setTimeout(resolve, 100));
    const sent = hub.bytesSent();
    expect(sent).toBeGreaterThan(0);
    expect(sent).toBeLessThan(100_000);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(hub.bytesSent()).toBe(sent);
    hub.bytesPerSecond = undefined;
    expect(await elapsedMs(() => loading)).toBeLessThan(1000);
    expect(await loading).toBe(bytes.byteLength);
  });
});

test('latency is added to every response', async () => {
  hub.latencyMs = 150;
  expect(await elapsedMs(() => get('bytes=0-9'))).toBeGreaterThanOrEqual(149);
});

test('ranges and bytes sent are kept per file', async () => {
  hub.files.set('other.bin', bytes);
  await get('bytes=0-9');
  await get('bytes=100-');
  expect(hub.rangesOf('acme/tiny/weights.bin')).toEqual([
    { start: 0, end: 10 },
    { start: 100, end: undefined },
  ]);
  expect([hub.bytesSent('acme/tiny/weights.bin'), hub.bytesSent('acme/tiny/other.bin')]).toEqual([399_910, 0]);
});

describe('content that is not held in memory', () => {
  test('made when it is asked for, beyond 4 GiB', async () => {
    const size = 6 * 2 ** 30;
    const calls: [number, number][] = [];
    const read = (offset: number, length: number) => {
      calls.push([offset, length]);
      return Uint8Array.from({ length }, (_, i) => ((offset + i) / 2 ** 20) & 255);
    };
    hub.models.set('acme/huge', new Map([['model.safetensors', { size, read, sha256: 'a'.repeat(64) }]]));
    const files = await openModel('acme/huge', { hubUrl: hub.hubUrl });
    const source = await files.open('model.safetensors');
    const into = new Uint8Array(600_000);
    await source.read(size - into.byteLength, into);
    expect([source.size, into[0], into.at(-1)]).toEqual([size, 255, 255]);
    expect(Math.max(...calls.map(([, length]) => length))).toBeLessThanOrEqual(256 << 10);
    expect(await files.expected!('model.safetensors')).toEqual({ sha256: 'a'.repeat(64), byteLength: size });
  });

  test('a file on disk', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sluice-'));
    try {
      await writeFile(join(folder, 'w.bin'), bytes);
      hub.files.set('w.bin', fileContent(join(folder, 'w.bin')));
      const source = await openHttp(`${hub.hubUrl}/w.bin`);
      const into = new Uint8Array(300_001);
      await source.read(77, into);
      expect(Buffer.compare(into, bytes.subarray(77, 77 + into.byteLength))).toBe(0);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

test('two models keep their files apart, behind redirects too', async () => {
  hub.redirect = true;
  hub.models.set('other/model', new Map([['weights.bin', bytes.subarray(0, 10)]]));
  const sizes = await Promise.all(
    ['acme/tiny', 'other/model'].map(async (id) => {
      const files = await openModel(id, { hubUrl: hub.hubUrl });
      return [files.revision, (await files.open('weights.bin')).size];
    }),
  );
  expect(sizes).toEqual([
    [HUB_COMMIT, bytes.byteLength],
    [HUB_COMMIT, 10],
  ]);
  expect(hub.bytesSent('other/model/weights.bin')).toBe(10);
  await expect(openModel('no/model', { hubUrl: hub.hubUrl })).rejects.toMatchObject({ code: 'not-found' });
});

test.each(['hub', 'cdn'] as const)('pages of other origins may read what the %s sends', async (host) => {
  const base = host === 'hub' ? hub.hubUrl : hub.cdnUrl;
  const preflight = await fetch(`${base}/weights.bin`, { method: 'OPTIONS' });
  const answer = await fetch(`${base}/weights.bin`);
  await answer.arrayBuffer();
  for (const { headers } of [preflight, answer]) {
    expect(headers.get('access-control-allow-origin')).toBe('*');
    expect(headers.get('access-control-allow-headers')).toMatch(/authorization/);
    expect(headers.get('access-control-expose-headers')).toMatch(/Content-Range.*ETag.*Link/);
  }
});
