/** Figures as a person reads them, and as a file keeps them. */
import type { ActivationDtype } from '../kernels/variants';
import type { AttentionRow } from './attention';
import type { Ceilings } from './ceilings';
import type { KernelRow } from './kernels';
import type { Transfers } from './transfers';

/** A row with its shares of what the machine gives at best. */
export type ReportedRow = KernelRow & { ofRead?: number; ofFma?: number };

export function withShares(row: KernelRow, { readGBps, fmaTflops }: Ceilings): ReportedRow {
  if (row.gbPerSecond === undefined || row.tflops === undefined) return row;
  return { ...row, ofRead: row.gbPerSecond / readGBps.value, ofFma: row.tflops / fmaTflops.value };
}

export const percent = (share: number) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
/** Three digits that matter, without an exponent. */
export const figure = (value: number) => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));

export function ceilingsText(ceilings: Ceilings & Transfers): string {
  const line = (name: string, { value, spread }: { value: number; spread: number }, unit: string) =>
    `  ${name.padEnd(28)}${figure(value).padStart(8)} ${unit.padEnd(9)} ± ${percent(spread / 2)}`;
  return [
    `Ceilings (read probe over ${(ceilings.probeBytes / 2 ** 20).toFixed(0)} MiB)`,
    line('read bandwidth', ceilings.readGBps, 'GB/s'),
    line('copy bandwidth, both ways', ceilings.copyGBps, 'GB/s'),
    line('f32 multiply-add', ceilings.fmaTflops, 'TFLOP/s'),
    line('dependent dispatch', ceilings.dispatchUs, 'µs'),
    line('encoding a dispatch', ceilings.encodeUs, 'µs'),
    line('submit and map', ceilings.roundTripMs, 'ms'),
    line('upload', ceilings.uploadGBps, 'GB/s'),
    line('readback', ceilings.readbackGBps, 'GB/s'),
  ].join('\n');
}

const columns = ['candidate', 'µs', '±', 'GB/s', 'of read', 'TFLOP/s', 'of FMA', 'error', ''];

/** All candidates of one matrix and one number of tokens. */
export function kernelTable(rows: readonly ReportedRow[]): string {
  if (rows.length === 0) return '';
  const { matrix, rows: outCols, cols, tokens, perToken } = rows[0]!;
  const times = perToken > 1 ? `, ${perToken} a token` : '';
  return [`${matrix} ${outCols}x${cols}, ${count(tokens, 'token')}${times}`, ...aligned([columns, ...rows.map(cells)])].join(
    '\n',
  );
}

function cells(row: ReportedRow): string[] {
  const mark = row.best
    ? row.activations === 'f32'
      ? '<- best'
      : `<- best ${row.activations}`
    : row.outcome === 'right'
      ? ''
      : `${row.outcome === 'wrong' ? 'WRONG' : 'failed'}: ${row.reason}`;
  if (row.us === undefined) return [row.candidate, ...Array<string>(columns.length - 2).fill('-'), mark];
  return [
    row.candidate,
    figure(row.us),
    percent(row.spread! / 2),
    figure(row.gbPerSecond!),
    percent(row.ofRead!),
    figure(row.tflops!),
    percent(row.ofFma!),
    row.error!.toExponential(1),
    mark,
  ];
}

const attentionColumns = ['candidate', 'µs', '±', 'TFLOP/s', 'of FMA', 'error', ''];

/** All candidates at one place. */
export function attentionTable(rows: readonly AttentionRow[], { fmaTflops }: Pick<Ceilings, 'fmaTflops'>): string {
  const { tokens, context } = rows[0]!;
  const lines = rows.map((row) => {
    const mark = row.best
      ? '<- best'
      : row.outcome === 'right'
        ? ''
        : `${row.outcome === 'wrong' ? 'WRONG' : 'failed'}: ${row.reason}`;
    if (row.us === undefined) return [row.candidate, ...Array<string>(5).fill('-'), mark];
    const share = percent(row.tflops! / fmaTflops.value);
    return [
      row.candidate,
      figure(row.us),
      percent(row.spread! / 2),
      figure(row.tflops!),
      share,
      row.error!.toExponential(1),
      mark,
    ];
  });
  return [`attention, ${count(tokens, 'token')} at ${context}`, ...aligned([attentionColumns, ...lines])].join('\n');
}

/** The first and the last column to the left, numbers to the right. */
export function aligned(table: readonly string[][]): string[] {
  const last = table[0]!.length - 1;
  const widths = table[0]!.map((_, i) => Math.max(...table.map((line) => line[i]!.length)));
  const cell = (text: string, i: number) => (i === 0 ? text.padEnd(widths[0]!) : i === last ? text : text.padStart(widths[i]!));
  return table.map((line) => `  ${line.map(cell).join('  ').trimEnd()}`);
}

/**
 * The best candidates of every matrix one after another, as often as a token passes each: what products alone take. 'f32x32' and
 * integers: with activations in such units where there are such candidates, each product with a dispatch of its own that makes them.
 */
export type ProductTotal = {
  tokens: number;
  activations: ActivationDtype;
  ms: number;
  gbPerSecond: number;
  tflops: number;
  ofRead: number;
  ofFma: number;
};

export function productTotals(rows: readonly KernelRow[], ceilings: Ceilings): ProductTotal[] {
  const best = rows.filter((row) => row.best);
  return [...new Set(best.map(({ tokens }) => tokens))].flatMap((tokens) => {
    const ofTokens = best.filter((row) => row.tokens === tokens);
    const exact = ofTokens.filter(({ activations }) => activations === 'f32');
    // None that had its units made before is marked as the best.
    const dtypes = new Set(ofTokens.map(({ activations }) => activations as ActivationDtype));
    dtypes.delete('f32');
    const units = [...dtypes].map((dtype) => {
      const own = ofTokens.filter(({ activations }) => activations === dtype);
      const others = exact.filter((row) => !own.some((other) => sameMatrix(row, other)));
      return productTotal([...own, ...others], tokens, dtype, ceilings);
    });
    return [productTotal(exact, tokens, 'f32', ceilings), ...units];
  });
}

const sameMatrix = (a: KernelRow, b: KernelRow) => a.matrix === b.matrix && a.rows === b.rows && a.cols === b.cols;

function productTotal(
  rows: readonly KernelRow[],
  tokens: number,
  activations: ActivationDtype,
  ceilings: Ceilings,
): ProductTotal {
  const sum = (of: (row: KernelRow) => number) => rows.reduce((total, row) => total + row.perToken * of(row), 0);
  const ms = sum(({ us }) => us! / 1000);
  const gbPerSecond = sum(({ us, gbPerSecond }) => gbPerSecond! * (us! / 1000)) / ms;
  const tflops = sum(({ us, tflops }) => tflops! * (us! / 1000)) / ms;
  const shares = { ofRead: gbPerSecond / ceilings.readGBps.value, ofFma: tflops / ceilings.fmaTflops.value };
  return { tokens, activations, ms, gbPerSecond, tflops, ...shares };
}

export function totalsText(totals: readonly ProductTotal[]): string {
  const line = ({ tokens, activations, ms, gbPerSecond, tflops, ofRead, ofFma }: ProductTotal) =>
    `  ${`${count(tokens, 'token')}${activations === 'f32' ? '' : `, ${activations}`}`.padEnd(14)} ${figure(ms)} ms, ` +
    `${figure(gbPerSecond)} GB/s (${percent(ofRead)} of read), ${figure(tflops)} TFLOP/s (${percent(ofFma)} of FMA)`;
  return ['The best of each, as often as a step needs it, matrices above only', ...totals.map(line)].join('\n');
}

export const count = (n: number, noun: string) => `${n} ${noun}${n === 1 ? '' : 's'}`;
