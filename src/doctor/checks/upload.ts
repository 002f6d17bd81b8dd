/** From JavaScript to the GPU by both of the engine's paths: how fast, and is what arrives what was sent? */
import { figure } from '../../bench/report';
import type { Gpu } from '../../gpu/device';
import { Readback } from '../../gpu/readback';
import { bytesPerSecondOf } from '../../stream/choose_upload';
import { createMappedUpload, createWriteUpload, type UploadPath } from '../../stream/upload';
import { bytesText, type Context, mib, type Outcome, probeBytes } from '../context';
import type { UploadFacts } from '../report';

type Kind = UploadFacts['better'];

const makers = { write: createWriteUpload, mapped: createMappedUpload };
/** MiB. */
const sizes: Record<Kind, number[]> = { write: [1, 2, 4, 8, 16], mapped: [1, 4, 8] };
/** The engine never writes more at a time, because Chrome allocates for each write past that. */
const mostWritten = 4;
const targetBytes = 16 * mib;

export async function checkUpload({ gpu: open, options, say }: Context): Promise<Outcome<UploadFacts>> {
  const gpu = await open();
  const target = gpu.memory.create('doctor upload', targetBytes, GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC);
  const { tried, leftOut } = piecesWithin(probeBytes(options));
  const facts: UploadFacts = { write: {}, mapped: {}, better: 'write', leftOut };
  const problems: string[] = [];
  let done = 0;
  try {
    for (const { kind, size, buffers } of tried) {
      await say({ done: done++, total: tried.length, step: `${kind}, ${size} MiB` });
      const path = makers[kind](gpu, { pieceBytes: size * mib, buffers, uncapped: true });
      try {
        facts[kind][size] = (await bytesPerSecondOf(path, target)) / 1e9;
        const wrong = await wrongWord(gpu, path, target);
        if (wrong) problems.push(`${kind}, ${size} MiB: ${wrong}`);
      } finally {
        path.destroy();
      }
    }
  } finally {
    gpu.memory.destroy(target);
  }
  const [write, mapped] = [engineRate('write', facts), engineRate('mapped', facts)];
  facts.better = mapped > write ? 'mapped' : 'write';
  if (problems.length > 0)
    return { status: 'failed', summary: 'What is uploaded does not arrive as it was sent.', problems, facts };
  if (gpu.adapter.isCpu) {
    const summary = 'Both ways bring what was sent; a software adapter’s speed means nothing.';
    return { status: 'noted', summary, facts };
  }
  const summary = `${figure(write)} GB/s by writeBuffer, ${figure(mapped)} GB/s through mapped buffers.`;
  return { status: 'passed', summary, facts };
}

/** The best rate in pieces that the engine sends, GB/s; 0 where nothing was measured. */
export function engineRate(kind: Kind, facts: Partial<UploadFacts> | undefined): number {
  const rates = Object.entries(facts?.[kind] ?? {}).filter(([size]) => kind === 'mapped' || Number(size) <= mostWritten);
  return Math.max(0, ...rates.map(([, rate]) => rate));
}

type Pieces = { kind: Kind; size: number; buffers: number };

/** What fits in what a probe may take: its own staging, the browser's, which for writes is as large again, and the target. */
export function piecesWithin(bytes: number): { tried: Pieces[]; leftOut: Record<string, string> } {
  const all = (['write', 'mapped'] as const).flatMap((kind) =>
    sizes[kind].map((size): Pieces => ({ kind, size, buffers: kind === 'write' && size > mostWritten ? 2 : 4 })),
  );
  const needed = ({ size, buffers }: Pieces) => targetBytes + 2 * size * buffers * mib;
  const [tried, others] = [all.filter((one) => needed(one) <= bytes), all.filter((one) => needed(one) > bytes)];
  const why = (one: Pieces) => `would take ${bytesText(needed(one))}; a probe may take ${bytesText(bytes)}`;
  return { tried, leftOut: Object.fromEntries(others.map((one) => [`${one.kind}, ${one.size} MiB`, why(one)])) };
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
