/** Matrix-vector products of a 9B model's shapes as shares of the read bandwidth: what decoding will come to. */
import { effortOn, measureCeilings } from '../../bench/ceilings';
import { benchKernels, type KernelRow } from '../../bench/kernels';
import { matricesOf, shrunk } from '../../bench/matrices';
import { modelUnits } from '../../plan/units';
import { describeSynthetic } from '../../synth/layout';
import { type Context, figure, mib, type Outcome, probeBytes } from '../context';
import type { ProductFacts } from '../report';

/** For a CPU adapter: enough to see that everything runs. */
const small = { rows: 128, cols: 256 };

export async function checkProducts({ gpu: open, options, say }: Context): Promise<Outcome<ProductFacts>> {
  const gpu = await open();
  const { isCpu } = gpu.adapter;
  const effort = effortOn(gpu, isCpu ? 0 : 0.06);
  const { tensors } = describeSynthetic({ preset: 'qwen3.5-9b', bits: 4 });
  const all = matricesOf(modelUnits(tensors, { slotBytes: Number.POSITIVE_INFINITY, residentEmbedding: true }));
  const matrices = isCpu ? shrunk(all, small) : all.filter(({ head }) => !head);
  let done = 0;
  await say({ done, total: matrices.length + 1, step: 'read bandwidth' });
  const { readGBps } = await measureCeilings(gpu, effort, probeBytes(options));
  const rows: KernelRow[] = [];
  for (const matrix of matrices) {
    await say({ done: ++done, total: matrices.length + 1, step: matrix.label });
    const rotateBytes = isCpu ? mib / 4 : 128 * mib;
    rows.push(...(await benchKernels(gpu, { matrices: [matrix], tokens: [1], rotateBytes, effort })));
  }
  const facts = factsOf(rows, readGBps.value);
  const problems = facts.rows.flatMap(({ matrix, wrong }) => wrong.map((candidate) => `${matrix}: ${candidate}`));
  if (problems.length > 0) return { status: 'failed', summary: `${problems.length} products are wrong.`, problems, facts };
  if (isCpu) return { status: 'noted', summary: 'Every variant is right; a software adapter’s speed means nothing.', facts };
  const share = Math.round(100 * facts.ofRead);
  return { status: 'passed', summary: `${figure(facts.gbPerSecond)} GB/s of weights, ${share} % of the read bandwidth.`, facts };
}

function factsOf(rows: readonly KernelRow[], readGBps: number): ProductFacts {
  const best = rows.filter((row) => row.best && row.activations === 'f32');
  const ms = best.reduce((sum, { us, perToken }) => sum + us! * perToken, 0);
  const gb = best.reduce((sum, { us, perToken, gbPerSecond }) => sum + us! * perToken * gbPerSecond!, 0);
  const gbPerSecond = ms > 0 ? gb / ms : 0;
  const wrongOf = (of: KernelRow) =>
    rows
      .filter(
        ({ matrix, rows, cols, outcome }) => outcome !== 'right' && matrix === of.matrix && rows === of.rows && cols === of.cols,
      )
      .map(({ candidate, outcome, reason }) => `${candidate} ${outcome}: ${reason}`);
  return {
    rows: best.map((row) => ({
      ...{ matrix: row.matrix, rows: row.rows, cols: row.cols, best: row.candidate },
      gbPerSecond: row.gbPerSecond!,
      ofRead: row.gbPerSecond! / readGBps,
      wrong: wrongOf(row),
    })),
    gbPerSecond,
    ofRead: gbPerSecond / readGBps,
  };
}
