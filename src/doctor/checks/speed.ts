/** What the machine gives at best, as `bench` measures it, and what bringing a megabyte back costs. */
import { effortOn, measureCeilings } from '../../bench/ceilings';
import { figure } from '../../bench/report';
import { summarise } from '../../bench/statistics';
import { kernelCases } from '../../cases/suite';
import type { Gpu } from '../../gpu/device';
import { Readback } from '../../gpu/readback';
import { subgroupsWork } from '../../kernels/probe';
import { type Context, mib, type Outcome, probeBytes } from '../context';
import type { SpeedFacts } from '../report';

/** A reply waits for this at every token that is read back. */
const slowRoundTripMs = 20;

export async function checkSpeed({ gpu: open, options, say }: Context): Promise<Outcome<SpeedFacts>> {
  const gpu = await open();
  await say({ done: 0, total: 3, step: 'bandwidth and arithmetic' });
  const { probeBytes: _, ...ceilings } = await measureCeilings(gpu, effortOn(gpu), probeBytes(options));
  await say({ done: 1, total: 3, step: 'readback' });
  const readbackMs = await measureReadback(gpu);
  await say({ done: 2, total: 3, step: 'f16 and subgroups' });
  const offered = gpu.adapter.features.includes('subgroups');
  const subgroupsReduce = offered ? gpu.subgroups && (await subgroupsWork(gpu)) : undefined;
  const facts = { ...ceilings, readbackMs, subgroupsReduce, f16Right: gpu.f16 ? await f16Right(gpu) : undefined };
  if (facts.f16Right === false) return { status: 'failed', summary: F16_WRONG, problems: [F16_WRONG], facts };
  if (gpu.adapter.isCpu)
    return { status: 'noted', summary: 'Every probe runs; a software adapter’s figures mean nothing.', facts };
  const { readGBps, fmaTflops, roundTripMs } = facts;
  const slow = roundTripMs.value > slowRoundTripMs;
  const summary = `${figure(readGBps.value)} GB/s read, ${figure(fmaTflops.value)} TFLOP/s, a round trip of ${figure(roundTripMs.value)} ms${slow ? ', which is slow' : ''}.`;
  return { status: slow ? 'noted' : 'passed', summary, facts };
}

const F16_WRONG = 'A small product with operands in f16 does not come out right.';

/** The smallest of the engine's own products with tiles of f16. */
async function f16Right(gpu: Gpu): Promise<boolean> {
  const small = kernelCases.find(({ kernel, name }) => kernel === 'gemm' && name.startsWith('f16 tiles'))!;
  const { error, tolerance } = await small.run(gpu);
  return error <= tolerance;
}

async function measureReadback(gpu: Gpu): Promise<number> {
  const source = gpu.memory.create('doctor readback source', mib, GPUBufferUsage.COPY_SRC | GPUBufferUsage.STORAGE);
  const readback = new Readback(gpu, 'doctor readback', mib);
  const times: number[] = [];
  try {
    for (let i = 0; i < 6; i++) {
      const started = performance.now();
      const encoder = gpu.device.createCommandEncoder();
      readback.copyFrom(encoder, source, 0, mib);
      gpu.device.queue.submit([encoder.finish()]);
      await readback.floats(mib);
      if (i > 0) times.push(performance.now() - started); // the first one makes JavaScript's copy
    }
    return summarise(times).median;
  } finally {
    readback.destroy();
    gpu.memory.destroy(source);
  }
}
