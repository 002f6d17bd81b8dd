/** `bench --kernels`: every candidate of a preset's matrix products, and of its attention for several tokens. */
import { type AttentionRow, benchAttention } from '../bench/attention';
import type { Ceilings, Effort } from '../bench/ceilings';
import { benchKernels, type KernelRow } from '../bench/kernels';
import { attentionTable, kernelTable, productTotals, totalsText, withShares } from '../bench/report';
import { kernelBench, smallTokens } from '../bench/run';
import type { Gpu } from '../gpu/device';
import type { KvDtype } from '../kernels/variants';
import { describeSynthetic, type SyntheticModel } from '../synth/layout';
import { wholeNumber } from './arguments';
import { keep } from './bench_file';

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
  await benchKernels(gpu, { ...kernelBench(gpu, options, effort), onRows });
  const { isCpu } = gpu.adapter;
  const { numAttentionHeads: heads, numKeyValueHeads: kvHeads, headDim } = describeSynthetic(options.model).config;
  const several = options.tokens.filter((count) => count > 1).map((count) => (isCpu ? Math.min(count, smallTokens) : count));
  await benchAttention(gpu, {
    shape: { heads, kvHeads, headDim, kv: options.kv },
    tokens: [...new Set(several)],
    contexts: isCpu ? [0] : options.contexts,
    effort,
    ...(options.only === undefined ? {} : { only: options.only }),
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
