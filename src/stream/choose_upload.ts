import type { Gpu } from '../gpu/device';
import type { UploadKind, UploadOptions, UploadPath } from './upload';
import { createMappedUpload } from './upload_mapped';
import { createWriteUpload } from './upload_write';

/** `bytesPerSecond` is 0 where nothing was measured. */
export type ChosenUpload = { path: UploadPath; bytesPerSecond: Record<UploadKind, number> };

const measuredBytes = 32 * 1024 * 1024;
/** Slow devices are judged by what they took until then: with what is in flight by then, all of it stays within about 150 ms. */
const warmUpMs = 10;
const measuredMs = 30;

const create = { mapped: createMappedUpload, write: createWriteUpload };

/**
 * Measures both ways and keeps the faster. Holds, beyond the path it returns, `scratchBytes` of GPU memory while it measures: one
 * path exists at a time. On a CPU adapter speed says nothing, so that is 'mapped' unmeasured.
 * @throws EngineError 'device-lost', 'budget'; AbortError.
 */
export async function chooseUpload(
  gpu: Gpu,
  { scratchBytes = 16 * 1024 * 1024, signal, ...options }: UploadOptions & { scratchBytes?: number; signal?: AbortSignal } = {},
): Promise<ChosenUpload> {
  if (gpu.adapter.isCpu) return { path: createMappedUpload(gpu, options), bytesPerSecond: { mapped: 0, write: 0 } };
  const scratch = gpu.memory.create('upload measurement', scratchBytes, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST);
  let last: UploadPath | undefined;
  try {
    const measure = async (kind: UploadKind) => {
      last?.destroy();
      last = create[kind](gpu, options);
      return bytesPerSecondOf(last, scratch, signal);
    };
    const bytesPerSecond = { write: await measure('write'), mapped: await measure('mapped') };
    const faster = bytesPerSecond.write > bytesPerSecond.mapped ? 'write' : 'mapped';
    if (last?.kind === faster) return { path: last, bytesPerSecond };
    last?.destroy();
    return { path: create[faster](gpu, options), bytesPerSecond };
  } catch (error) {
    last?.destroy();
    throw error;
  } finally {
    gpu.memory.destroy(scratch);
  }
}

/** What a path moves, over and over into `scratch`, in some 40 ms. @throws EngineError 'device-lost'; AbortError. */
export async function bytesPerSecondOf(path: UploadPath, scratch: GPUBuffer, signal?: AbortSignal): Promise<number> {
  await move(path, scratch, { bytes: measuredBytes / 2, ms: warmUpMs, signal });
  const start = performance.now();
  const moved = await move(path, scratch, { bytes: measuredBytes, ms: measuredMs, signal });
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
  const end = performance.now() + ms;
  let moved = 0;
  for (let n = 0; moved < bytes && (n === 0 || performance.now() < end); n++) {
    await path.upload(scratch, (n % places) * piece, piece, (into) => void into.fill(n), { signal });
    moved += piece;
  }
  await path.idle();
  return moved;
}
