/** `bench --kernels`: every candidate of a preset's matrix products, and of its attention for several tokens. */
import { type AttentionRow, benchAttention } from '../bench/attention';
import type { Ceilings, Effort } from '../bench/ceilings';
import { benchKernels, type KernelRow } from '../bench/kernels';
import { matricesOf, shrunk } from '../bench/matrices';
import { attentionTable, kernelTable, productTotals, totalsText, withShares } from '../bench/report';
import type { Gpu } from '../gpu/device';
import type { KvDtype } from '../kernels/variants';
import { modelUnits } from '../plan/units';
import { describeSynthetic, type SyntheticModel } from '../synth/layout';
import { wholeNumber } from './arguments';
import { keep } from './bench_file';

const mib = 2 ** 20;
/** For a CPU adapter, whose figures mean nothing: enough to see that everything runs. */
const small = { rows: 128, cols: 256, tokens: 4 };

export type KernelOptions = {
  model: SyntheticModel;
  tokens: number[];
  /** Of attention. */
  contexts: number[];
  kv: KvDtype;
  only?: string;
  json?: string;
};

/** Prints every table as soon as it is there, and keeps the file up to date: a run may be cut short. */
export async function reportKernels(gpu: Gpu, options: KernelOptions, effort: Effort, report: { ceilings: Ceilings }) {
  const { ceilings } = report;
  const rows: KernelRow[] = [];
  let kept = Promise.resolve();
  const attention: AttentionRow[] = [];
  const result = () => ({ kernels: rows.map((row) => withShares(row, ceilings)), attention });
  const show = (table: string) => {
    console.log(`\n${table}`);
    const now = { ...report, ...result() };
    kept = kept.then(() => keep(options.json, now));
  };
  const onRows = (more: readonly KernelRow[]) => {
    rows.push(...more);
    show(kernelTable(more.map((row) => withShares(row, ceilings))));
  };
  const { isCpu } = gpu.adapter;
  const { config, tensors } = describeSynthetic(options.model);
  const matrices = matricesOf(modelUnits(tensors, { slotBytes: Number.POSITIVE_INFINITY, residentEmbedding: true }));
  const only = options.only === undefined ? {} : { only: options.only };
  await benchKernels(gpu, {
    matrices: isCpu ? shrunk(matrices, small) : matrices,
    tokens: isCpu ? [...new Set(options.tokens.map((count) => Math.min(count, small.tokens)))] : options.tokens,
    rotateBytes: isCpu ? mib / 4 : 256 * mib,
    effort,
    ...only,
    onRows,
  });
  const { numAttentionHeads: heads, numKeyValueHeads: kvHeads, headDim } = config;
  const several = options.tokens.filter((count) => count > 1).map((count) => (isCpu ? Math.min(count, small.tokens) : count));
  await benchAttention(gpu, {
    shape: { heads, kvHeads, headDim, kv: options.kv },
    tokens: [...new Set(several)],
    contexts: isCpu ? [0] : options.contexts,
    effort,
    ...only,
    onRows: (more) => {
      attention.push(...more);
      show(attentionTable(more, ceilings));
    },
  });
  await kept;
  const totals = productTotals(rows, ceilings);
  console.log(`\n${totalsText(totals)}`);
  const wrong = [...rows, ...attention].filter(({ outcome }) => outcome === 'wrong');
  if (wrong.length > 0) {
    process.exitCode = 1;
    console.error(`sluice: ${wrong.length} wrong: ${[...new Set(wrong.map(({ candidate }) => candidate))].join(', ')}`);
  }
  return { ...result(), totals };
}

export function tokenCounts(value: string | boolean | undefined): number[] {
  if (typeof value !== 'string') return [1, 8, 64, 512];
  return [...new Set(value.split(',').map((count) => wholeNumber('tokens', count.trim(), { least: 1, most: 4096 })!))];
}
