import { beforeAll, expect, test } from 'vitest';
import { ModelSession, sessionPlan } from '../../src/engine/model_session';
import { EngineError } from '../../src/errors';
import type { Gpu } from '../../src/gpu/device';
import { openDirectory } from '../../src/node/file_source';
import { openNodeGpu } from '../../src/node/open_gpu';
import type { ByteSource } from '../../src/storage/byte_source';
import { openCheckpoint } from '../../src/stream/open_checkpoint';

const tokens = Uint32Array.from({ length: 24 }, (_, i) => (i * 37) % 512);
/** Beyond the smallest budget: a few experts more. */
const spareBytes = 60_000;

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openNodeGpu();
});

const isWithin = (tensor: { byteOffset: number; byteLength: number }, byteOffset: number) =>
  byteOffset >= tensor.byteOffset && byteOffset < tensor.byteOffset + tensor.byteLength;

/** A session whose reads of experts go through `meddle` once it has loaded. */
async function sessionWith(meddle: (read: number) => Promise<void> | void) {
  const folder = new URL('../fixtures/vectors/moe-4bit', import.meta.url).pathname;
  const checkpoint = await openCheckpoint(await openDirectory(folder), undefined, { text: false });
  const experts = [...checkpoint.directory.values()].filter(({ name }) => name.includes('switch_mlp'));
  let loaded = false;
  let reads = 0;
  const sources = new Map(
    [...checkpoint.sources].map(([name, source]): [string, ByteSource] => [
      name,
      {
        label: source.label,
        size: source.size,
        close: () => source.close(),
        read: async (byteOffset, into, signal) => {
          if (loaded && experts.some((tensor) => isWithin(tensor, byteOffset))) await meddle(reads++);
          return source.read(byteOffset, into, signal);
        },
      },
    ]),
  );
  const shape = { contextTokens: 64, chunkTokens: 16, kv: 'f32', f16: false } as const;
  const { smallestBudgetBytes } = sessionPlan(gpu, checkpoint, { ...shape, gpuBudgetBytes: 2 ** 40 });
  const options = { ...shape, gpuBudgetBytes: smallestBudgetBytes + spareBytes };
  const session = await ModelSession.load(gpu, { ...checkpoint, sources }, options);
  loaded = true;
  expect(session.plan.experts!.complete).toBe(false);
  const close = () => {
    session.destroy();
    for (const source of checkpoint.sources.values()) source.close();
  };
  return { session, close, reads: () => reads };
}

async function logitsOf({ runner, sequence }: ModelSession, signal?: AbortSignal): Promise<number[]> {
  sequence.reset();
  const rows: number[] = [];
  await runner.step([{ sequence, tokens, logits: 'last', onLogits: ({ values }) => rows.push(...values) }], signal);
  return rows;
}

async function undisturbed(): Promise<number[]> {
  const { session, close } = await sessionWith(() => {});
  try {
    return await logitsOf(session);
  } finally {
    close();
  }
}

const failure = () => new EngineError('storage', 'The disk did not answer.');

test('a read that fails now and then is tried again', async () => {
  const { session, close } = await sessionWith((read) => {
    if (read % 23 === 3) throw failure(); // an expert takes nine
  });
  expect(await logitsOf(session)).toEqual(await undisturbed());
  close();
});

test('a disk that is gone ends the request with a typed error; when it is back the same engine goes on, bit for bit', async () => {
  let gone = false;
  const { session, close, reads } = await sessionWith((read) => {
    if (gone && read > 40) throw failure();
  });
  gone = true;
  await expect(logitsOf(session)).rejects.toThrow(expect.objectContaining({ code: 'storage' }) as EngineError);
  expect(reads()).toBeGreaterThan(40);
  gone = false;
  expect(await logitsOf(session)).toEqual(await undisturbed());
  close();
});

test('an aborted request leaves experts that can be trusted', async () => {
  const control = new AbortController();
  const { session, close } = await sessionWith(async (read) => {
    if (read === 30) control.abort();
    await new Promise((resolve) => setTimeout(resolve, 1));
  });
  await expect(logitsOf(session, control.signal)).rejects.toThrow(expect.objectContaining({ name: 'AbortError' }) as Error);
  expect(await logitsOf(session)).toEqual(await undisturbed());
  close();
});

test('nothing stays allocated', () => expect(gpu.memory.bytes).toBe(0));
