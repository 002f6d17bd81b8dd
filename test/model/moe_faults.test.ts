import { beforeAll, expect, test } from 'vitest';
import { ModelSession, type SessionOptions, sessionPlan } from '../../src/engine/model_session';
import { EngineError } from '../../src/errors';
import type { Gpu } from '../../src/gpu/device';
import { openDirectory } from '../../src/node/file_source';
import { openNodeGpu } from '../../src/node/open_gpu';
import type { ByteSource } from '../../src/storage/byte_source';
import { Deferred } from '../../src/stream/deferred';
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

/** A session whose reads of experts go through `meddle` once it has loaded; `at`: of which tensor, from which byte on. */
async function sessionWith(
  meddle: (read: number, at: string) => Promise<void> | void,
  { spare = spareBytes, ...own }: Partial<SessionOptions> & { spare?: number } = {},
) {
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
          const tensor = loaded ? experts.find((tensor) => isWithin(tensor, byteOffset)) : undefined;
          if (tensor) await meddle(reads++, `${tensor.name} ${byteOffset}`);
          return source.read(byteOffset, into, signal);
        },
      },
    ]),
  );
  const shape = { contextTokens: 64, chunkTokens: 16, kv: 'f32', f16: false } as const;
  const { smallestBudgetBytes } = sessionPlan(gpu, checkpoint, { ...shape, gpuBudgetBytes: 2 ** 40 });
  const options = { ...shape, ...own, gpuBudgetBytes: smallestBudgetBytes + spare };
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

test.each([0, spareBytes])(
  'a chunk reads an expert once at most, whatever waves it takes: %i bytes more than the least',
  async (spare) => {
    const reads = new Map<string, number>();
    const { session, close } = await sessionWith((_, at) => void reads.set(at, (reads.get(at) ?? 0) + 1), { spare });
    const { runner, sequence, experts } = session;
    sequence.reset();
    await runner.step([{ sequence, tokens: tokens.subarray(0, 16), logits: 'none' }]);
    expect(Math.max(...reads.values())).toBe(1);
    expect(reads.size).toBe(9 * experts!.counts.prefill.misses);
    expect(experts!.counts.prefill.misses).toBeGreaterThan(experts!.byLayer.hits.length * 4); // more than fit at a time
    close();
  },
);

test('a chunk reads its next experts while the GPU computes with those before them', async () => {
  const read = new Set<string>();
  const isWhole = (at: string) => at.includes('down_proj.weight'); // the last of an expert
  const { session, close } = await sessionWith((_, at) => void (isWhole(at) && read.add(at)), { spare: 0 });
  const { runner, sequence, plan } = session;
  const slots = plan.experts!.slabs[0]!.slots;
  const { queue } = gpu.device;
  const done = new Deferred();
  queue.onSubmittedWorkDone = () => done.promise.then(() => undefined); // nobody hears yet that anything is computed
  sequence.reset();
  const running = runner.step([{ sequence, tokens: tokens.subarray(0, 16), logits: 'none' }]);
  await expect.poll(() => read.size, { timeout: 5000 }).toBeGreaterThanOrEqual(slots); // half of them beside the first half's compute
  done.resolve();
  await running;
  Reflect.deleteProperty(queue, 'onSubmittedWorkDone');
  expect(read.size).toBeGreaterThan(slots);
  close();
});

/** Rows of tokens one by one, computed before their experts are known to be there. */
const decoded = async ({ runner, sequence }: ModelSession, count: number): Promise<number[][]> => {
  const rows: number[][] = [];
  for (const token of tokens.subarray(0, count)) {
    const row: number[] = [];
    const onLogits = ({ values }: { values: Float32Array }) => row.push(...values);
    await runner.step([{ sequence, tokens: Uint32Array.of(token), logits: 'last', onLogits }]);
    rows.push(row);
  }
  return rows;
};

test('of a token that is computed ahead too a failed read is tried again, then ends the request; afterwards the engine goes on, bit for bit', async () => {
  let gone = false;
  const tried = new Map<string, number>();
  const ahead = { spare: 400_000, speculation: 'on' } as const;
  const { session, close } = await sessionWith((_, at) => {
    const times = (tried.get(at) ?? 0) + 1;
    tried.set(at, times);
    if (gone || (times === 1 && at.includes('down_proj.weight'))) throw failure(); // one of an expert's nine
  }, ahead);
  const undisturbed = await sessionWith(() => {}, ahead);
  const want = await decoded(undisturbed.session, 8);
  undisturbed.close();
  expect(await decoded(session, 8)).toEqual(want);
  expect([...tried].filter(([at, times]) => at.includes('down_proj.weight') && times > 1).length).toBeGreaterThan(4);
  session.sequence.reset();
  tried.clear();
  gone = true;
  await expect(decoded(session, 24)).rejects.toThrow(expect.objectContaining({ code: 'storage' }) as EngineError);
  expect(Math.max(...tried.values())).toBe(3);
  gone = false;
  session.sequence.reset();
  expect(await decoded(session, 8)).toEqual(want);
  close();
});

test('nothing stays allocated', () => expect(gpu.memory.bytes).toBe(0));
