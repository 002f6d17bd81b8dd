/** What goes wrong with the GPU is one typed error, and nothing stays allocated. */
import { afterEach, expect, test } from 'vitest';
import { ModelSession, type SessionOptions } from '../../src/engine/model_session';
import { openDirectory } from '../../src/node/file_source';
import { openNodeGpu } from '../../src/node/open_gpu';
import { type OpenedCheckpoint, openCheckpoint } from '../../src/stream/open_checkpoint';

const options: SessionOptions = { contextTokens: 32, chunkTokens: 16, kv: 'f32', f16: false };
const opened: OpenedCheckpoint[] = [];

async function open(): Promise<OpenedCheckpoint> {
  const folder = new URL('../fixtures/vectors/dense-4bit', import.meta.url).pathname;
  const checkpoint = await openCheckpoint(await openDirectory(folder));
  opened.push(checkpoint);
  return checkpoint;
}

afterEach(() => {
  for (const { sources } of opened.splice(0)) for (const source of sources.values()) source.close();
});

test('a device lost in mid-decode', async () => {
  const gpu = await openNodeGpu();
  const session = await ModelSession.load(gpu, await open(), options);
  const step = () => session.runner.step([{ sequence: session.sequence, tokens: Uint32Array.of(1), logits: 'last' }]);
  await step();
  const pending = step();
  gpu.device.destroy();
  await expect(pending).rejects.toMatchObject({ code: 'device-lost' });
  await expect(step()).rejects.toMatchObject({ code: 'device-lost' });
});

test('a cancelled load leaves nothing behind', async () => {
  const gpu = await openNodeGpu();
  const controller = new AbortController();
  const load = ModelSession.load(gpu, await open(), options, { signal: controller.signal, onProgress: () => controller.abort() });
  await expect(load).rejects.toMatchObject({ name: 'AbortError' });
  expect(gpu.memory.bytes).toBe(0);
});

test('a file cut short after it was opened', async () => {
  const gpu = await openNodeGpu();
  const checkpoint = await open();
  for (const source of checkpoint.sources.values()) source.close();
  await expect(ModelSession.load(gpu, checkpoint, options)).rejects.toMatchObject({ code: 'storage' });
  expect(gpu.memory.bytes).toBe(0);
});

test.each([
  { change: { contextTokens: 5000 }, code: 'context-length', why: 'longer than the model was made for' },
  { change: { contextTokens: 0 }, code: 'invalid-request', why: 'no context' },
  { change: { chunkTokens: 513 }, code: 'invalid-request', why: 'a chunk too long' },
  { change: { slabBytes: 16 }, code: 'budget', why: 'not one row fits' },
])('$why is a typed error: $code', async ({ change, code }) => {
  const gpu = await openNodeGpu();
  await expect(ModelSession.load(gpu, await open(), { ...options, ...change })).rejects.toMatchObject({ code });
  expect(gpu.memory.bytes).toBe(0);
});

test('a context that no binding holds is refused with the largest that would', async () => {
  const gpu = await openNodeGpu();
  const checkpoint = await open();
  const config = { ...checkpoint.config, maxPositionEmbeddings: 1 << 24 };
  await expect(ModelSession.load(gpu, { ...checkpoint, config }, { ...options, contextTokens: 1 << 23 })).rejects.toMatchObject({
    code: 'budget',
    message: expect.stringMatching(/Lower contextTokens to \d+/),
  });
});

test('more tokens than the context are refused before anything runs', async () => {
  const gpu = await openNodeGpu();
  const session = await ModelSession.load(gpu, await open(), options);
  const step = session.runner.step([{ sequence: session.sequence, tokens: new Uint32Array(33), logits: 'none' }]);
  await expect(step).rejects.toMatchObject({ code: 'context-length' });
  expect(session.sequence.length).toBe(0);
  session.destroy();
  expect(gpu.memory.bytes).toBe(0);
});
