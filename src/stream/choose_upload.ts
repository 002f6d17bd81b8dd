import type { Gpu } from '../gpu/device';
import type { UploadKind, UploadOptions, UploadPath } from './upload';
import { createMappedUpload } from './upload_mapped';
import { createWriteUpload } from './upload_write';

/** 0 where nothing was measured. */
export type ChosenUpload = { path: UploadPath; bytesPerSecond: Record<UploadKind, number> };

export type ChoiceOptions = UploadOptions & {
  scratchBytes?: number;
  signal?: AbortSignal | undefined;
};

/** Slow devices are judged by what they took until then: with what is in flight by then, each way stays within about 150 ms. */
const warmUp = { bytes: 64 * 1024 * 1024, ms: 30 };
/** A few pieces alone would say how long the first takes to come back. */
const measured = { bytes: 256 * 1024 * 1024, ms: 40 };

const create = { mapped: createMappedUpload, write: createWriteUpload };

/**
 * Measures both ways and keeps the faster. Holds, beyond the path it returns, `scratchBytes` of GPU memory while it measures: one path
 * exists at a time. On a CPU adapter speed says nothing, so that is 'mapped' unmeasured.
 * @throws EngineError 'device-lost', 'budget'; AbortError.
 */
export async function chooseUpload(
  gpu: Gpu,
  { scratchBytes = 16 * 1024 * 1024, signal, ...options }: ChoiceOptions = {},
): Promise<ChosenUpload> {
  if (gpu.adapter.isCpu) return { path: createMappedUpload(gpu, options), bytesPerSecond: { mapped: 0, write: 0 } };
  const scratch = gpu.memory.create('upload measurement', scratchBytes, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST);
  const bytesPerSecond = { mapped: 0, write: 0 };
  let last: UploadPath | undefined;
  try {
    for (const kind of ['write', 'mapped'] as const) {
      last?.destroy();
      last = create[kind](gpu, options);
      bytesPerSecond[kind] = await bytesPerSecondOf(last, scratch, signal);
    }
    if (last && bytesPerSecond.mapped >= bytesPerSecond.write) return { path: last, bytesPerSecond };
    last?.destroy();
    return { path: createWriteUpload(gpu, options), bytesPerSecond };
  } catch (error) {
    last?.destroy();
    throw error;
  } finally {
    gpu.memory.destroy(scratch);
  }
}

/** What a path moves, over and over into `scratch`, in some 70 ms. @throws EngineError 'device-lost'; AbortError. */
export async function bytesPerSecondOf(path: UploadPath, scratch: GPUBuffer, signal?: AbortSignal): Promise<number> {
  await move(path, scratch, { ...warmUp, signal });
  const start = performance.now();
  const moved = await move(path, scratch, { ...measured, signal });
  return moved / ((performance.now() - start) / 1000);
}

/** Uploads pieces over and over the scratch buffer until `bytes` have gone or `ms` have passed. Returns the bytes. */
async function move(
  path: UploadPath,
  scratch: GPUBuffer,
  { bytes, ms, signal }: { bytes: number; ms: number; signal: AbortSignal | undefined },
): Promise<number> {
  const piece = Math.min(path.pieceBytes, scratch.size);
  const places = Math.floor(scratch.size / piece);
  const memory = new Uint8Array(piece);
  const end = performance.now() + ms;
  let moved = 0;
  for (let n = 0; moved < bytes && (n === 0 || performance.now() < end); n++) {
    await path.upload(scratch, (n % places) * piece, piece, (into) => into.set(memory), { signal });
    moved += piece;
  }
  await path.idle();
  return moved;
}
