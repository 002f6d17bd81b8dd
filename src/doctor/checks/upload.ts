/** From JavaScript to the GPU by both of the engine's paths: how fast, and is what arrives what was sent? */
import { figure } from '../../bench/report';
import type { Gpu } from '../../gpu/device';
import { Readback } from '../../gpu/readback';
import { bytesPerSecondOf } from '../../stream/choose_upload';
import { createMappedUpload, createWriteUpload, type UploadPath } from '../../stream/upload';
import { type Context, mib, type Outcome } from '../context';
import type { UploadFacts } from '../report';

const makers = { write: createWriteUpload, mapped: createMappedUpload };
/** MiB. Writes are never above 4, because Chrome allocates for each one past that. */
const sizes = { write: [1, 2, 4], mapped: [1, 4, 8] };

export async function checkUpload({ gpu: open, say }: Context): Promise<Outcome<UploadFacts>> {
  const gpu = await open();
  const target = gpu.memory.create('doctor upload', 16 * mib, GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC);
  const facts: UploadFacts = { write: {}, mapped: {}, better: 'write' };
  const problems: string[] = [];
  let done = 0;
  try {
    for (const kind of ['write', 'mapped'] as const) {
      for (const size of sizes[kind]) {
        await say({ done: done++, total: 6, step: `${kind}, ${size} MiB` });
        const path = makers[kind](gpu, { pieceBytes: size * mib, buffers: 4 });
        try {
          facts[kind][size] = (await bytesPerSecondOf(path, target)) / 1e9;
          const wrong = await wrongWord(gpu, path, target);
          if (wrong) problems.push(`${kind}, ${size} MiB: ${wrong}`);
        } finally {
          path.destroy();
        }
      }
    }
  } finally {
    gpu.memory.destroy(target);
  }
  const best = (kind: 'write' | 'mapped') => Math.max(...Object.values(facts[kind]));
  facts.better = best('mapped') > best('write') ? 'mapped' : 'write';
  if (problems.length > 0)
    return { status: 'failed', summary: 'What is uploaded does not arrive as it was sent.', problems, facts };
  if (gpu.adapter.isCpu) {
    const summary = 'Both ways bring what was sent; a software adapter’s speed means nothing.';
    return { status: 'noted', summary, facts };
  }
  const summary = `${figure(best('write'))} GB/s by writeBuffer, ${figure(best('mapped'))} GB/s through mapped buffers.`;
  return { status: 'passed', summary, facts };
}

/** Sends a piece of numbers and brings it back. */
async function wrongWord(gpu: Gpu, path: UploadPath, target: GPUBuffer): Promise<string | undefined> {
  const bytes = path.pieceBytes;
  const seed = bytes / mib;
  await path.upload(target, 0, bytes, (into) => {
    new Float32Array(into.buffer, into.byteOffset, bytes / 4).forEach((_, i, all) => {
      all[i] = (i % 8191) + seed;
    });
  });
  const readback = new Readback(gpu, 'doctor upload readback', bytes);
  try {
    const encoder = gpu.device.createCommandEncoder();
    readback.copyFrom(encoder, target, 0, bytes);
    gpu.device.queue.submit([encoder.finish()]);
    const got = await readback.floats(bytes);
    const at = got.findIndex((value, i) => value !== (i % 8191) + seed);
    return at < 0 ? undefined : `word ${at} is ${got[at]}, ${(at % 8191) + seed} was sent`;
  } finally {
    readback.destroy();
  }
}
