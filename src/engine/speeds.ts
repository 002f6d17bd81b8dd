/**
 * How fast this device reads, uploads and multiplies, measured for a moment: what the planner's timeline is made of. Nothing of it
 * changes a result. Where a model is loaded, its own tokens say more (`ModelSession.measureToken`).
 */
import { EngineError } from '../errors';
import type { Gpu } from '../gpu/device';
import { bindSlab, recordAt, recordStride } from '../gpu/kernel';
import { submittedWorkDone } from '../gpu/readback';
import { chooseGemv, chooseGemvUnits, takesUnits } from '../kernels/gemv';
import { unitBytes, unitsFor } from '../kernels/variants';
import type { MemoryPlan } from '../plan/memory_plan';
import type { Speeds } from '../plan/timeline';
import type { SlotImage } from '../plan/windows';
import { WindowFiller } from '../stream/fill';
import type { ModelSource } from '../stream/model_source';
import { chooseUpload, type FillStaging, type UploadPath } from '../stream/upload';
import { WindowUpload } from '../stream/window_upload';
import { createPairWeaver } from './pair_weaver';
import { type RateLimits, SettledRate } from './settled_rate';

const mib = 1024 * 1024;
/**
 * Reading goes on until its rate is steady: 0.3 s mostly, 0.6 at most, 1.2 of a disk that fills staging six times in no less; and reads that are
 * under way end. Slices of a tenth of a second are long beside a pause of the thread or of a disk.
 */
const readMs = { sliceMs: 100, mostMs: 600 };
/** Copies alone are steady sooner, and seldom decide. */
const uploadMs = { sliceMs: 30, mostMs: 120 };
/** Products, of which a CPU adapter's first may take longer than that. */
const computeMs = 40;
/** Where windows go: more than a GPU caches, where the plan has as much. */
const mostTargetBytes = 128 * mib;
/** Units, or experts, that are looked at: enough for all kinds of them, and for every part of the files. */
const mostSamples = 64;
/** Of a layer, beside what its weights take: its dispatches wait for each other (411 of 27B's layers for 1.5 ms on an H200). */
const perUnitMs = 0.025;

/** Bytes per millisecond of what nothing waits for. */
const atOnce = 1e12;
/** Bytes per millisecond of a disk that has not been asked yet: about what browsers read of a laptop's. */
const assumedRead = 2e6;

/**
 * Reads are timed as the engine makes them: windows of units that `plan` streams, from all over the files, into the plan's staging and on to
 * the GPU, so that reading and uploading get in each other's way as they will. Holds no more GPU memory than the plan does.
 * Of a model that is not on this machine yet nothing is read, because asking costs the user bytes and says nothing about the disk that
 * they will come from: the disk is assumed (`readAssumed`), or, where nothing streams, computing alone is measured.
 * @param precision of the products that will run.
 * @returns undefined of a very small model, and where what streams comes over the network, or is on its way.
 */
export async function measureSpeeds(
  gpu: Gpu,
  model: Pick<ModelSource, 'home' | 'stored' | 'download' | 'sources' | 'disk'>,
  { plan, precision }: { plan: MemoryPlan; precision: 'exact' | 'fast' },
  signal?: AbortSignal,
): Promise<Speeds | undefined> {
  const { images, staging, targetBytes } = samples(plan);
  if (staging.pieceBytes < 65536) return undefined; // a model this small says nothing about a disk
  const here = await isHere(model);
  if (!here && plan.streamedBytesPerToken === 0 && plan.experts?.complete !== false) {
    const computeBytesPerMs = await gemvSpeed(gpu, plan.bytes.total, precision);
    return { readBytesPerMs: atOnce, uploadBytesPerMs: atOnce, computeBytesPerMs, perUnitMs };
  }
  if (!here && (model.home === 'none' || model.download)) return undefined;
  const memory = gpu.memory.scope();
  const own = { ...gpu, memory };
  let path: UploadPath | undefined;
  try {
    const { buffers } = staging;
    path = (await chooseUpload(own, { scratchBytes: staging.pieceBytes, pieceBytes: staging.pieceBytes, buffers, signal })).path;
    const { pieceBytes } = path;
    const places = Math.max(1, Math.floor(Math.min(targetBytes, mostTargetBytes, mostBound(gpu)) / pieceBytes));
    const placeOf = (n: number) => (n % places) * pieceBytes;
    const { STORAGE, COPY_DST } = GPUBufferUsage;
    const target = memory.create('speed measurement', places * pieceBytes, STORAGE | COPY_DST);
    const weaver = staging.weave ? createPairWeaver(own, pieceBytes, [target]) : undefined;
    await weaver?.ready;
    const sends = new WindowUpload(path, weaver);
    const windows = images.flatMap((image) => sends.windowsOf(image));
    const fillers = Array.from({ length: buffers }, () => new WindowFiller(model.sources));
    const through: Move = async (n, worker) => {
      const window = windows[n % windows.length]!;
      const fill: FillStaging = (into) => fillers[worker]!.fill(window, into, signal);
      await sends.send(window, target, placeOf(n), fill, signal ? { signal } : {});
      return window.bytes;
    };
    const alone: Move = async (n) => {
      await path!.upload(target, placeOf(n), pieceBytes, () => {}, signal ? { signal } : {});
      return pieceBytes;
    };
    const sliceBytes = 2 * buffers * pieceBytes;
    const readBytesPerMs = here ? await rate(path, buffers, through, { ...readMs, sliceBytes }) : assumedRead;
    const uploadBytesPerMs = await rate(path, buffers, alone, { ...uploadMs, sliceBytes });
    path.destroy();
    memory.release();
    const computeBytesPerMs = await gemvSpeed(gpu, plan.bytes.total, precision);
    return { readBytesPerMs, uploadBytesPerMs, computeBytesPerMs, perUnitMs, ...(here ? {} : { readAssumed: true as const }) };
  } catch (error) {
    // What is not on disk yet cannot be read ahead of its download, and says nothing about the disk.
    if (error instanceof EngineError && error.code === 'storage') return undefined;
    throw error;
  } finally {
    path?.destroy();
    memory.release();
  }
}

async function isHere(model: Pick<ModelSource, 'home' | 'stored' | 'download' | 'disk'>): Promise<boolean> {
  if (model.home !== 'opfs') return model.home === 'local';
  if (!model.stored || model.download) return false;
  const { neededBytes, storedBytes } = await model.disk();
  return storedBytes >= neededBytes;
}

const mostBound = ({ device: { limits } }: Gpu): number => Math.min(limits.maxBufferSize, limits.maxStorageBufferBindingSize);

/** `targetBytes`: GPU memory of the plan that they go to. */
type Samples = { images: SlotImage[]; staging: MemoryPlan['staging']; targetBytes: number };

/** What a token reads, and through which staging: missing experts, streamed units, or, where nothing does, what loading reads. */
function samples({ model, streamed, experts, staging, ring, bytes }: MemoryPlan): Samples {
  if (experts && !experts.complete) {
    const layers = model.layers.map(({ moe }) => moe!.experts);
    const of = spread(layers.flatMap((layer) => Array.from({ length: layer.count }, (_, index) => ({ layer, index }))));
    const images = of.map(({ layer, index }) => layer.image(index));
    return { images, staging: { ...experts.staging, weave: false }, targetBytes: experts.bytes };
  }
  const wanted = model.units.filter((_, i) => streamed[i] || !streamed.includes(true));
  const images = spread(wanted.filter((unit) => unit.bytes > 0)).flatMap((unit) => unit.images);
  return { images, staging, targetBytes: ring.slots > 0 ? ring.slots * ring.slotBytes : bytes.residentWeights };
}

/** Some of the list, in an order whose every beginning is spread over the whole of it: how many there is time for is not known. */
function spread<T>(list: readonly T[]): T[] {
  const count = Math.min(mostSamples, list.length);
  const places = Array.from({ length: count }, (_, i) => ({
    at: Math.floor((i * list.length) / count),
    turn: (i * 0.618_034) % 1,
  }));
  return places.sort((a, b) => a.turn - b.turn).map(({ at }) => list[at]!);
}

/** Moves the n-th piece; returns its bytes. */
type Move = (n: number, worker: number) => Promise<number>;

/** Bytes per millisecond through the upload path, as many at once as the engine has. */
async function rate(path: UploadPath, workers: number, move: Move, limits: RateLimits): Promise<number> {
  const settled = new SettledRate(performance.now(), limits);
  let next = 0;
  const work = async (worker: number) => {
    while (!settled.done) {
      const bytes = await move(next++, worker);
      settled.add(bytes, performance.now());
    }
  };
  await Promise.all(Array.from({ length: workers }, (_, worker) => work(worker)));
  await path.idle();
  return settled.bytesPerMs;
}

/** Bytes of 4-bit weights that a matrix-vector product consumes per millisecond: what decoding mostly is. */
async function gemvSpeed(gpu: Gpu, memoryBytes: number, precision: 'exact' | 'fast'): Promise<number> {
  const memory = gpu.memory.scope();
  const own = { ...gpu, memory };
  const cols = 4096;
  const rowBytes = (cols * 4.5) / 8;
  const rows = Math.max(64, Math.floor(Math.min(gpu.adapter.isCpu ? 2 * mib : 48 * mib, memoryBytes / 4) / rowBytes / 64) * 64);
  try {
    const { STORAGE, UNIFORM, COPY_DST } = GPUBufferUsage;
    const format = { kind: 'affine', bits: 4, group: 64, pair: 'bf16' } as const;
    const slab = memory.create('gemv measurement', rows * rowBytes + 32, STORAGE);
    const table = memory.create('gemv measurement record', recordStride, UNIFORM | COPY_DST);
    const pairsAt = (rows * cols) / 2 / 16;
    gpu.device.queue.writeBuffer(table, 0, Uint32Array.of(0, pairsAt, rows, 0, cols / 8, cols / 64, cols, rows));
    const dtype = unitsFor(gpu, precision);
    const x = memory.create('gemv measurement x', unitBytes(cols, dtype), STORAGE);
    const y = memory.create('gemv measurement y', rows * 4, STORAGE);
    const shape = { cols, outCols: rows, format, accumulate: false };
    const kernel = takesUnits(own, dtype, shape) ? chooseGemvUnits(own, { ...shape, x: dtype }) : chooseGemv(own, shape);
    await kernel.ready;
    const group = bindSlab(own, slab);
    const activations = kernel.bind({ x: { buffer: x }, y: { buffer: y } }, { slab: { group }, record: recordAt(table, 0) });
    const run = async (times: number) => {
      const encoder = gpu.device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(kernel.pipeline(1));
      pass.setBindGroup(0, activations);
      pass.setBindGroup(1, group);
      const [gx, gy = 1] = kernel.grid(1, rows);
      for (let i = 0; i < times; i++) pass.dispatchWorkgroups(gx, gy);
      pass.end();
      gpu.device.queue.submit([encoder.finish()]);
      await submittedWorkDone(own);
    };
    await run(1);
    const started = performance.now();
    let times = 0;
    for (let batch = 1; performance.now() - started < computeMs; batch = Math.min(64, batch * 4)) {
      await run(batch);
      times += batch;
    }
    return (times * rows * rowBytes) / (performance.now() - started);
  } finally {
    memory.release();
  }
}
