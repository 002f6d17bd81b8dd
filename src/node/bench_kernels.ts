/** `bench --kernels`: every candidate of a preset's matrix products. */
import type { Ceilings, Effort } from '../bench/ceilings';
import { benchKernels, type KernelRow } from '../bench/kernels';
import { kernelTable, productTotals, totalsText, withShares } from '../bench/report';
import { kernelBench } from '../bench/run';
import type { Gpu } from '../gpu/device';
import type { SyntheticModel } from '../synth/layout';
import { wholeNumber } from './arguments';
import { keep } from './bench_file';

export type KernelOptions = { model: SyntheticModel; tokens: number[]; only?: string; json?: string };

/** Prints every table as soon as it is there, and keeps the file up to date: a run may be cut short. */
export async function reportKernels(gpu: Gpu, options: KernelOptions, effort: Effort, report: { ceilings: Ceilings }) {
  const { ceilings } = report;
  const rows: KernelRow[] = [];
  let kept = Promise.resolve();
  const onRows = (more: readonly KernelRow[]) => {
    rows.push(...more);
    console.log(`\n${kernelTable(more.map((row) => withShares(row, ceilings)))}`);
    const now = { ...report, kernels: rows.map((row) => withShares(row, ceilings)) };
    kept = kept.then(() => keep(options.json, now));
  };
  await benchKernels(gpu, { ...kernelBench(gpu, options, effort), onRows });
  await kept;
  const totals = productTotals(rows, ceilings);
  console.log(`\n${totalsText(totals)}`);
  const wrong = rows.filter(({ outcome }) => outcome === 'wrong');
  if (wrong.length > 0) {
    process.exitCode = 1;
    console.error(`sluice: ${wrong.length} wrong: ${[...new Set(wrong.map(({ candidate }) => candidate))].join(', ')}`);
  }
  return { kernels: rows.map((row) => withShares(row, ceilings)), totals };
}

export function tokenCounts(value: string | boolean | undefined): number[] {
  if (typeof value !== 'string') return [1, 8, 64, 512];
  return [...new Set(value.split(',').map((count) => wholeNumber('tokens', count.trim(), { least: 1, most: 4096 })!))];
}
