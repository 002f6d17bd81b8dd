/** Matrix-vector products of a 9B model's shapes as shares of the read bandwidth: what decoding will come to. */
import { type Ceilings, effortOn, measureCeilings } from '../../bench/ceilings';
import { benchKernels, type KernelRow } from '../../bench/kernels';
import { figure } from '../../bench/report';
import { kernelBench } from '../../bench/run';
import { type Context, mib, type Outcome, plural, probeBytes, withIdlePlant } from '../context';
import { noPlantYet, planted, whyIdle } from '../plant';
import type { ProductFacts } from '../report';

/** Of copies of a matrix: more than a cache holds, and little enough for a phone. */
const mostRotateBytes = 128 * mib;

export async function checkProducts({ gpu: open, options, say }: Context): Promise<Outcome<ProductFacts>> {
  const tally = noPlantYet();
  const gpu = planted(await open(), options.plant, tally);
  const { isCpu } = gpu.adapter;
  const effort = effortOn(gpu, isCpu ? 0 : 0.06);
  const bench = kernelBench(gpu, { model: { preset: 'qwen3.5-9b', bits: 4 }, tokens: [1] }, effort);
  const matrices = bench.matrices.filter(({ head }) => isCpu || !head);
  let done = 0;
  await say({ done, total: matrices.length + 1, step: 'read bandwidth' });
  const { readGBps } = await measureCeilings(gpu, effort, probeBytes(options));
  const rows: KernelRow[] = [];
  for (const matrix of matrices) {
    await say({ done: ++done, total: matrices.length + 1, step: matrix.label });
    const rotateBytes = Math.min(bench.rotateBytes, mostRotateBytes);
    rows.push(...(await benchKernels(gpu, { ...bench, matrices: [matrix], rotateBytes })));
  }
  return withIdlePlant(judged(rows, readGBps, isCpu), whyIdle(options.plant, tally));
}

/** One candidate that is not right is a problem: another device, or another day, may choose it. */
export function judged(rows: readonly KernelRow[], readGBps: Ceilings['readGBps'], isCpu: boolean): Outcome<ProductFacts> {
  const facts = factsOf(rows, readGBps.value);
  const problems = rows
    .filter(({ outcome }) => outcome !== 'right')
    .map((row) => `${row.matrix} ${row.rows}x${row.cols}: ${row.candidate} ${row.outcome}: ${row.reason}`);
  if (problems.length > 0)
    return { status: 'failed', summary: `${plural(problems.length, 'product')} came out wrong or not at all.`, problems, facts };
  if (isCpu) return { status: 'noted', summary: 'Every variant is right; a software adapter’s speed means nothing.', facts };
  const share = Math.round(100 * facts.ofRead);
  return { status: 'passed', summary: `${figure(facts.gbPerSecond)} GB/s of weights, ${share} % of the read bandwidth.`, facts };
}

function factsOf(rows: readonly KernelRow[], readGBps: number): ProductFacts {
  const best = rows.filter((row) => row.best && row.activations === 'f32');
  const ms = best.reduce((sum, { us, perToken }) => sum + us! * perToken, 0);
  const gb = best.reduce((sum, { us, perToken, gbPerSecond }) => sum + us! * perToken * gbPerSecond!, 0);
  const gbPerSecond = ms > 0 ? gb / ms : 0;
  return {
    rows: best.map((row) => ({
      ...{ matrix: row.matrix, rows: row.rows, cols: row.cols, best: row.candidate },
      gbPerSecond: row.gbPerSecond!,
      ofRead: row.gbPerSecond! / readGBps,
    })),
    gbPerSecond,
    ofRead: gbPerSecond / readGBps,
  };
}
