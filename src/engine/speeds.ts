/**
 * How fast this device reads, uploads and multiplies, measured for a moment: what the planner's timeline is made of. Nothing of it
 * changes a result.
 */
import { EngineError } from '../errors';
import type { Gpu } from '../gpu/device';
import { bindSlab, recordAt, recordStride } from '../gpu/kernel';
import { submittedWorkDone } from '../gpu/readback';
import { chooseGemv, chooseGemvUnits, takesUnits } from '../kernels/gemv';
import { unitBytes, unitsFor } from '../kernels/variants';
import type { Speeds } from '../plan/timeline';
import type { ModelSource } from '../stream/model_source';
import { chooseUpload, type UploadPath } from '../stream/upload';
import { stagingFor } from './model_session';

const mib = 1024 * 1024;
/** Time for each of the three, milliseconds; a CPU adapter's first dispatch may take longer than that. */
const measuredMs = 80;
const measuredBytes = 2048 * mib;
/** Of a layer, beside what its weights take: its dispatches wait for each other (411 of 27B's layers for 1.5 ms on an H200). */
const perUnitMs = 0.025;

/**
 * undefined where the weights come from the network: its speed is not known before, and asking costs the user bytes.
 * `memoryBytes`: GPU bytes that may be held meanwhile. `precision`: of the products that will run.
 */
export async function measureSpeeds(
  gpu: Gpu,
  model: ModelSource,
  { memoryBytes, precision }: { memoryBytes: number; precision: 'exact' | 'fast' },
  signal?: AbortSignal,
): Promise<Speeds | undefined> {
  if (model.home === 'none' || model.download) return undefined;
  const largest = [...model.sources.values()].reduce((a, b) => (b.size > a.size ? b : a));
  const { buffers, pieceBytes } = stagingFor(gpu);
  const piece = Math.min(pieceBytes, largest.size, Math.floor(memoryBytes / (buffers + 2) / 256) * 256);
  if (piece < 65536) return undefined; // a model this small says nothing about a disk
  const memory = gpu.memory.scope();
  try {
    const own = { ...gpu, memory };
    const { path } = await chooseUpload(own, { scratchBytes: piece, pieceBytes: piece, buffers, signal });
    const target = memory.create('speed measurement', piece, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST);
    const pieces = Math.floor(largest.size / path.pieceBytes);
    const read = (into: Uint8Array, n: number) => largest.read((n % pieces) * path.pieceBytes, into, signal);
    const readBytesPerMs = await rate(path, target, buffers, read);
    const uploadBytesPerMs = await rate(path, target, buffers, () => {});
    path.destroy();
    memory.release();
    const computeBytesPerMs = await gemvSpeed(gpu, memoryBytes, precision);
    return { readBytesPerMs, uploadBytesPerMs, computeBytesPerMs, perUnitMs };
  } catch (error) {
    // What is not on disk yet cannot be read ahead of its download, and says nothing about the disk.
    if (error instanceof EngineError && error.code === 'storage') return undefined;
    throw error;
  } finally {
    memory.release();
  }
}

/** Bytes per millisecond through the upload path, as many at once as the engine has. */
async function rate(
  path: UploadPath,
  target: GPUBuffer,
  workers: number,
  fill: (into: Uint8Array<ArrayBuffer>, n: number) => void | Promise<void>,
): Promise<number> {
  let next = 0;
  const run = async (ms: number): Promise<number> => {
    const started = performance.now();
    let bytes = 0;
    const work = async () => {
      while (performance.now() - started < ms && bytes < measuredBytes) {
        const n = next++;
        const piece = Math.min(path.pieceBytes, target.size);
        await path.upload(target, 0, piece, (into) => fill(into, n));
        bytes += piece;
      }
    };
    await Promise.all(Array.from({ length: workers }, work));
    await path.idle();
    return bytes / (performance.now() - started);
  };
  await run(measuredMs / 4); // the first pieces touch memory and code for the first time
  return run(measuredMs);
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
    for (let batch = 1; performance.now() - started < measuredMs / 2; batch = Math.min(64, batch * 4)) {
      await run(batch);
      times += batch;
    }
    return (times * rows * rowBytes) / (performance.now() - started);
  } finally {
    memory.release();
  }
}
