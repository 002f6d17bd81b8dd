/** A session whose weights come from a source of a speed that is set: how well reading, uploading and computing hide each other. */
import { expose } from 'comlink';
import { ModelSession, type SessionOptions, sessionPlan } from '../../src/engine/model_session';
import { openGpu } from '../../src/gpu/device';
import type { ByteSource } from '../../src/storage/byte_source';
import { memorySource } from '../../src/storage/memory';
import { openModel } from '../../src/storage/model_ref';
import { openCheckpoint } from '../../src/stream/open_checkpoint';

/**
 * Milliseconds, each the best that was seen: other programs on the same cores only ever add to a time. `tokenMs` is the mean of a few
 * tokens in a row, so that none profits from what was read before it.
 */
export type OverlapReport = {
  weightBytes: number;
  streamedBytes: number;
  gpuBudgetBytes: number;
  readMs: number;
  uploadMs: number;
  computeMs: number;
  tokenMs: number;
  /** Of every token. */
  all: number[];
};

/** Timers are 4 ms late at least and seldom exact: what is owed for less than this, ms, waits for the next read. */
const creditMs = 6;

/** Bytes per millisecond, of all readers together; they pass in the order of asking. */
class Throttle {
  bytesPerMs = Number.POSITIVE_INFINITY;
  #paidUntil = 0;

  async take(bytes: number): Promise<void> {
    const now = performance.now();
    this.#paidUntil = Math.max(this.#paidUntil, now - creditMs) + bytes / this.bytesPerMs;
    const wait = this.#paidUntil - now;
    if (wait > creditMs) await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

function throttled(source: ByteSource, throttle: Throttle): ByteSource {
  return {
    label: source.label,
    size: source.size,
    async read(byteOffset, into, signal) {
      await throttle.take(into.byteLength);
      await source.read(byteOffset, into, signal);
    },
    close: () => source.close(),
  };
}

async function inMemory(source: ByteSource): Promise<ByteSource> {
  const bytes = new Uint8Array(source.size);
  for (let at = 0; at < bytes.byteLength; at += 32 << 20) await source.read(at, bytes.subarray(at, at + (32 << 20)));
  source.close();
  return memorySource(bytes, source.label);
}

/** Tokens that a time is the mean of; the first of a round finds the ring full. */
const inARow = 3;

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

const api = {
  /** `tokens` per round. Half of the layers' bytes are resident; reading is as slow as computing. */
  async run(model: string, hubUrl: string, { rounds, tokens }: { rounds: number; tokens: number }): Promise<OverlapReport> {
    const gpu = await openGpu(navigator.gpu, {});
    const files = await openModel(model, { hubUrl });
    const opened = await openCheckpoint(files, undefined, { text: false });
    const throttle = new Throttle();
    const sources = new Map<string, ByteSource>();
    for (const [name, source] of opened.sources) sources.set(name, throttled(await inMemory(source), throttle));
    files.close();
    const checkpoint = { config: opened.config, tensors: opened.tensors, sources };
    const options: SessionOptions = { contextTokens: 128, chunkTokens: 32, kv: 'f16', f16: false };
    const gpuBudgetBytes = budgetForHalf(
      (bytes) => {
        const plan = sessionPlan(gpu, checkpoint, { ...options, gpuBudgetBytes: bytes });
        return plan.streamedBytesPerToken / plan.weightBytes;
      },
      sessionPlan(gpu, checkpoint, options),
    );
    const session = await ModelSession.load(gpu, checkpoint, { ...options, gpuBudgetBytes });
    try {
      const { plan } = session;
      await session.measure(); // warms up
      const computing: number[] = [];
      for (let i = 0; i < 6; i++) computing.push(await session.measureCompute());
      throttle.bytesPerMs = plan.streamedBytesPerToken / Math.min(...computing);
      const alone: Awaited<ReturnType<ModelSession['measure']>>[] = [];
      const all: number[] = [];
      let tokenMs = Number.POSITIVE_INFINITY;
      for (let i = 0; i < rounds; i++) {
        alone.push(await session.measure());
        const times = await decode(session, tokens);
        all.push(...times);
        for (let t = 1; t + inARow <= times.length; t++) tokenMs = Math.min(tokenMs, mean(times.slice(t, t + inARow)));
      }
      const best = (use: 'readMs' | 'uploadMs' | 'computeMs') => Math.min(...alone.map((measured) => measured[use]));
      return {
        weightBytes: plan.weightBytes,
        streamedBytes: plan.streamedBytesPerToken,
        gpuBudgetBytes,
        readMs: best('readMs'),
        uploadMs: best('uploadMs'),
        computeMs: best('computeMs'),
        tokenMs,
        all,
      };
    } finally {
      session.destroy();
      gpu.device.destroy();
    }
  },
};

/** Milliseconds of each token. */
async function decode({ runner, sequence }: ModelSession, tokens: number): Promise<number[]> {
  sequence.reset();
  const times: number[] = [];
  for (let i = 0; i < tokens; i++) {
    const started = performance.now();
    await runner.step([{ sequence, tokens: Uint32Array.of(1 + i), logits: 'last' }]);
    times.push(performance.now() - started);
  }
  return times;
}

function budgetForHalf(
  streamedShare: (budget: number) => number,
  { smallestBudgetBytes, bytes }: { smallestBudgetBytes: number; bytes: { total: number } },
): number {
  let low = smallestBudgetBytes;
  let high = bytes.total;
  while (high - low > 100_000) {
    const middle = Math.floor((low + high) / 2);
    if (streamedShare(middle) > 0.5) low = middle;
    else high = middle;
  }
  return high;
}

export type OverlapApi = typeof api;

expose(api);
