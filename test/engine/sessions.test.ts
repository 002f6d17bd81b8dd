/** Saved sessions: bit for bit where engine and bytes are the same, the tokens again where they are not, and never half a session. */
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { EngineCore } from '../../src/engine/engine_core';
import { restoreSession, type SessionFacts, saveSession } from '../../src/engine/sessions';
import { openDirectory } from '../../src/node/file_source';
import { openNodeGpu } from '../../src/node/open_gpu';
import { spawnTextWorker } from '../../src/node/text_worker_spawn';
import type { EngineConfig, GenerateEvent, GenerateRequest } from '../../src/protocol/engine';
import type { ModelFiles } from '../../src/storage/byte_source';
import { SessionStore } from '../../src/storage/sessions/session_store';
import { openModelSource } from '../../src/stream/model_source';
import { createTextHost, type TextHost } from '../../src/text/text_host';
import { NodeOrigin, type TabOptions } from '../storage/store/node_host';
import { bundleTextWorker } from '../text/bundled_worker';

let files: ModelFiles;
let text: TextHost;
let script: { url: URL; remove(): void };
let folder: string;
const cores: EngineCore[] = [];

beforeAll(async () => {
  script = await bundleTextWorker();
  files = await openDirectory(new URL('../../demo/model', import.meta.url).pathname);
  text = createTextHost({ spawn: () => spawnTextWorker(script.url) });
});
beforeEach(() => {
  if (folder) rmSync(folder, { recursive: true });
  folder = mkdtempSync(join(tmpdir(), 'sessions-'));
});
afterAll(() => {
  for (const core of cores) core.destroy();
  rmSync(folder, { recursive: true });
  text.dispose();
  files.close();
  script.remove();
});

/** A page: an engine on a device of its own. */
async function page(config: EngineConfig = {}, from: ModelFiles = files): Promise<EngineCore> {
  const gpu = await openNodeGpu();
  const core = await EngineCore.load(
    { gpu, model: await openModelSource(from), text },
    { contextTokens: 160, chunkTokens: 16, ...config },
  );
  cores.push(core);
  return core;
}

const store = (options: TabOptions = {}) => SessionStore.open<SessionFacts>(new NodeOrigin(folder).tab(options).root);

const user = (content: string) => ({ role: 'user', content });
const ask = (...messages: { role: string; content: string }[]): GenerateRequest => ({
  prompt: { messages, templateKwargs: {} },
  sampling: { temperature: 0 },
  maxTokens: 6,
  stop: [],
});

async function run(core: EngineCore, request: GenerateRequest) {
  let said = '';
  let done: Extract<GenerateEvent, { type: 'done' }> | undefined;
  for await (const event of core.generate(request, new AbortController().signal)) {
    if (event.type === 'text') said += event.text;
    if (event.type === 'done') done = event;
  }
  return { said, usage: done!.usage, state: await digest(core) };
}

/** Of one more token, read by both engines behind the same text. */
async function logitsAfter({ session: { runner, sequence } }: EngineCore, token: number): Promise<number[]> {
  const logits: number[] = [];
  const tokens = Uint32Array.of(token);
  await runner.step([{ sequence, tokens, logits: 'last', onLogits: ({ values }) => void logits.push(...values) }]);
  return logits;
}

/** Of keys, values and running state; read as a save reads them, which the smallest budget has room for. */
async function digest({ cache }: EngineCore): Promise<string> {
  const { ids, rows, snapshots } = (await cache.copyAll())!;
  const parts = [...rows, ...snapshots.at(-1)!.state.copy];
  return `${ids.length} ${parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest('hex')}`;
}

const first = user('Tell a story about a fox.');
const second = user('And then?');

const savedFile = (ending: string) => {
  const [key] = readdirSync(join(folder, 'models'));
  const names = readdirSync(join(folder, 'models', key!)).filter((name) => name.endsWith(ending));
  return join(folder, 'models', key!, names.sort().at(-1)!);
};

test('save, a new page with as little memory as it takes, restore: both turns are those of uninterrupted running, bit for bit', async () => {
  const straight = await page();
  const other = await page({ gpuBudget: straight.plan.smallestBudgetBytes });
  expect([straight, other].map(({ session }) => session.plan.streamedBytesPerToken > 0)).toEqual([false, true]);
  const one = await run(straight, ask(first));
  const saved = await saveSession(straight, await store(), 'chat');
  expect(saved).toMatchObject({ id: 'chat', bytes: expect.any(Number) });
  expect(await (await store()).list()).toEqual([saved]);

  const restored = await restoreSession(other, await store(), 'chat');
  expect(restored).toMatchObject({ from: 'state', tokens: one.usage.total_tokens - 1 });
  expect(await digest(other)).toBe(one.state);
  const next = ask(first, { role: 'assistant', content: one.said }, second);
  const two = await run(straight, next);
  expect(two.usage.prompt_tokens_details!.cached_tokens).toBe(one.usage.total_tokens - 1);
  expect(await run(other, next)).toEqual(two);
  expect(two.usage).not.toHaveProperty('replayed_tokens');
  expect(await logitsAfter(other, 7)).toEqual(await logitsAfter(straight, 7));

  await restoreSession(other, await store(), 'chat');
  const again = await run(other, ask(first));
  expect(again).toMatchObject({ said: one.said, state: one.state });
  expect(again.usage.prompt_tokens_details!.cached_tokens).toBe(one.usage.prompt_tokens);
}, 60_000);

/** The model's folder as it is when its weights were written anew, a day later. */
const rewritten = (): ModelFiles => ({
  ...files,
  async open(name, signal) {
    const source = await files.open(name, signal);
    return name === 'model.safetensors' ? { ...source, mark: `${Number(source.mark) + 86_400_000}` } : source;
  },
});

test.each<{ what: string; config?: EngineConfig; from?: () => ModelFiles; damage?: () => void }>([
  { what: 'weights of another version', from: rewritten },
  { what: 'another precision of keys and values', config: { kv: 'f32' } },
  { what: 'another chunk size', config: { chunkTokens: 32 } },
  { what: 'state cut short', damage: () => truncateSync(savedFile('.state'), 1000) },
  { what: 'a bit of the state flipped', damage: () => flip(savedFile('.state')) },
  { what: 'no state', damage: () => rmSync(savedFile('.state')) },
])(
  '$what: the tokens are read again, and usage says so',
  async ({ config = {}, from = () => files, damage = () => {} }) => {
    const [before, after] = [await page(), await page(config, from())];
    const one = await run(before, ask(first));
    await saveSession(before, await store(), 'chat');
    damage();
    const restored = await restoreSession(after, await store(), 'chat');
    expect(restored).toMatchObject({ from: 'tokens', tokens: one.usage.total_tokens - 1 });
    const next = await run(after, ask(first, { role: 'assistant', content: one.said }, second));
    expect(next.usage.replayed_tokens).toBe(one.usage.total_tokens - 1);
    expect(next.said).not.toBe('');
    expect((await run(after, ask(first))).usage).not.toHaveProperty('replayed_tokens');
  },
  60_000,
);

function flip(path: string): void {
  const bytes = readFileSync(path);
  bytes[bytes.length >> 1]! ^= 1;
  writeFileSync(path, bytes);
}

test('what cannot be restored is a typed error, and the engine goes on', async () => {
  const core = await page();
  await expect(saveSession(core, await store(), 'empty')).rejects.toMatchObject({ code: 'invalid-request' });
  await expect(restoreSession(core, await store(), 'none')).rejects.toMatchObject({ code: 'not-found' });
  await run(core, ask(first));
  await saveSession(core, await store(), 'chat');
  await expect(restoreSession(await page({ contextTokens: 20 }), await store(), 'chat')).rejects.toMatchObject({
    code: 'context-length',
  });
  const { facts, state } = await (await store()).read('chat');
  await (await store()).save('other', { ...facts, model: 'someone/else' }, state!, 1);
  await expect(restoreSession(core, await store(), 'other')).rejects.toMatchObject({
    code: 'invalid-request',
    message: expect.stringContaining('someone/else'),
  });
  await (await store()).delete('other');
  expect((await (await store()).list()).map(({ id }) => id)).toEqual(['chat']);
  flip(savedFile('.json'));
  await expect(restoreSession(core, await store(), 'chat')).rejects.toMatchObject({
    code: 'storage',
    message: expect.stringContaining('damaged'),
  });
  expect(await (await store()).list()).toEqual([]);
  expect((await run(core, ask(first))).said).not.toBe('');
  await saveSession(core, await store(), 'chat');
  expect(await restoreSession(core, await store(), 'chat')).toMatchObject({ from: 'state' });
  await (await store()).delete('chat');
  await (await store()).delete('chat');
  expect(await (await store()).list()).toEqual([]);
}, 60_000);

/** `value`, otherwise. */
const otherwise = (value: unknown) =>
  typeof value === 'number' ? value + 1 : typeof value === 'string' ? `${value}x` : { ...(value as object), gemv: 'other' };

test('whatever the state depends on is recorded, and where any of it differs the tokens are read again', async () => {
  const core = await page();
  await run(core, ask(first));
  await saveSession(core, await store(), 'chat');
  const { facts, state } = await (await store()).read('chat');
  const { adapter, variants, kv, chunkTokens, precision } = core.info();
  expect(facts.origin).toEqual({
    ...{ format: 1, version: core.modelVersion, variants, kv, chunkTokens, precision },
    adapter: `${adapter.vendor} ${adapter.architecture} ${adapter.description}`,
    kernels: core.session.recordings.kernelDigest,
  });
  for (const [key, value] of Object.entries(facts.origin)) {
    const origin = { ...facts.origin, [key]: otherwise(value) };
    await (await store()).save('other', { ...facts, origin }, state!, 1);
    expect((await restoreSession(core, await store(), 'other')).from, key).toBe('tokens');
  }
  await (await store()).save('other', facts, state!, 1);
  expect((await restoreSession(core, await store(), 'other')).from).toBe('state');
}, 60_000);

test.each(['throw', 'short', 'minus-8'] as const)(
  'a full disk (%s) is a typed error, and the session saved before is still there',
  async (fullDisk) => {
    const small = (seed: number): [SessionFacts, Uint8Array<ArrayBuffer>[]] => [
      { model: 'm', origin: {} as SessionFacts['origin'], ids: [seed], moments: [] },
      [new Uint8Array(5000).fill(seed), new Uint8Array(3000).fill(seed + 1)],
    ];
    await (await store()).save('chat', ...small(1), 1);
    for (let diskBytes = 0; diskBytes < 8400; diskBytes += 400) {
      const failed = (await store({ diskBytes, fullDisk })).save('chat', ...small(2), 2);
      await expect(failed).rejects.toMatchObject({ code: 'storage' });
      const read = await (await store()).read('chat');
      expect(read).toMatchObject({ savedAt: 1, facts: { ids: [1] } });
      expect(read.state!.map((part) => part[0])).toEqual([1, 2]);
    }
  },
);

test('a page that dies at any write of a save leaves the old session or the new one', async () => {
  const facts: SessionFacts = { model: 'm', origin: {} as SessionFacts['origin'], ids: [], moments: [] };
  const seen = new Set<number>();
  for (let dieAt = 1; ; dieAt++) {
    await (await store()).save('chat', facts, [Uint8Array.of(1)], 1);
    let writes = 0;
    const tab = new NodeOrigin(folder).tab({
      onWrite: () => {
        if (++writes === dieAt) tab.die();
      },
    });
    const dying = await SessionStore.open<SessionFacts>(tab.root);
    const saved = await dying
      .save('chat', facts, [new Uint8Array(2000).fill(2), new Uint8Array(9).fill(3)], 2)
      .catch(() => undefined);
    const read = await (await store()).read('chat');
    expect(read.state).toBeDefined();
    expect(read.savedAt).toBe(saved ? 2 : 1);
    seen.add(read.savedAt);
    if (saved) break;
  }
  expect([...seen].sort()).toEqual([1, 2]);
  expect(existsSync(folder)).toBe(true);
});
