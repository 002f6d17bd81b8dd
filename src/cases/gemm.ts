import type { MatrixFormat } from '../format/types';
import type { Gpu } from '../gpu/device';
import type { Grid, Kernel } from '../gpu/kernel';
import {
  createGemm,
  createGemmDirect,
  createGemmQ4,
  createGemmQ4Outer,
  createGemmQ4Split,
  type GemmShape,
  type GemmTile,
  type OuterTile,
  type SplitTeam,
} from '../kernels/gemm';
import { gemmReference } from '../kernels/reference/gemv';
import { bf16, describeFormat, f16, f32, q3, q4 } from './formats';
import { compare, type KernelCase, onBench, random, randomMatrix, requireStem, skip, ulp, uniform } from './harness';

type Row = {
  stem: 'gemm' | 'gemm_q4' | 'gemm_q4_outer' | 'gemm_q4_split' | 'gemm_direct' | 'gemm_q4_direct';
  tile?: 'f16';
  shape?: GemmTile;
  outer?: OuterTile;
  /** Of gemm_q4_split; 64 lanes by 8 tokens unless said. */
  team?: SplitTeam;
  rows: number;
  cols: number;
  format: MatrixFormat;
  tokens: number;
  accumulate?: boolean;
  cuts?: number[];
  baseUnits?: number;
  grid?: Grid;
  why: string;
};

const steps = [1, 2, 7, 31, 32, 33, 64];
const usual = { rows: 70, cols: 96, format: q4(32, 'bf16'), baseUnits: 2 };
const straddling = { rows: 70, cols: 96, format: q3(32, 'bf16'), baseUnits: 2 };
const square: GemmTile = { tx: 8, ty: 8, wide: true, ahead: false };
const flat: GemmTile = { tx: 8, ty: 4, wide: false, ahead: true };
const outer: OuterTile = { tx: 16, ty: 8, wide: true, columns: 16, ahead: false };
const table: Row[] = [
  { stem: 'gemm', rows: 1, cols: 4, format: f32, tokens: 1, why: 'the smallest: one value of one quad' },
  { stem: 'gemm', rows: 70, cols: 4, format: f32, tokens: 33, grid: [2, 2, 2], why: 'row tiles folded into z' },
  ...steps.map((tokens) => ({
    stem: 'gemm' as const,
    ...usual,
    tokens,
    why: `${tokens} tokens of tiles of 32; the third row tile holds 6`,
  })),
  { stem: 'gemm', ...usual, tokens: 33, cuts: [1, 40], why: 'parts that begin within a tile write their columns only' },
  {
    stem: 'gemm',
    rows: 33,
    cols: 128,
    format: q3(128, 'f16'),
    accumulate: true,
    tokens: 7,
    cuts: [32],
    baseUnits: 5,
    why: 'two parts add to y; weights straddle words',
  },
  { stem: 'gemm', rows: 9, cols: 64, format: q4(64, 'f32'), tokens: 2, why: 'pairs of f32' },
  {
    stem: 'gemm',
    rows: 9,
    cols: 36,
    format: bf16,
    tokens: 7,
    cuts: [4],
    why: 'padded rows; the second column tile holds one quad',
  },
  { stem: 'gemm', rows: 33, cols: 12, format: f16, accumulate: true, tokens: 33, why: 'padded rows; one column tile, not full' },
  { stem: 'gemm', tile: 'f16', ...usual, tokens: 33, cuts: [1, 40], why: 'operands rounded to f16, sums kept in f32' },
  {
    stem: 'gemm',
    tile: 'f16',
    rows: 9,
    cols: 36,
    format: bf16,
    tokens: 7,
    accumulate: true,
    why: 'f16 tiles, not full, added to y',
  },

  { stem: 'gemm_q4', shape: square, rows: 1, cols: 32, format: q4(32, 'bf16'), tokens: 1, why: 'one row of one group' },
  {
    stem: 'gemm_q4',
    shape: flat,
    rows: 70,
    cols: 32,
    format: q4(32, 'f32'),
    tokens: 70,
    grid: [2, 3, 3],
    why: 'row tiles folded into z; pairs of f32',
  },
  ...[1, 7, 63, 64, 65].map((tokens) => ({
    stem: 'gemm_q4' as const,
    shape: square,
    ...usual,
    tokens,
    why: `${tokens} tokens of tiles of 64; the second row tile holds 6`,
  })),
  ...[{ tx: 8, ty: 4, wide: true, ahead: true } as const, { tx: 16, ty: 4, wide: false, ahead: false } as const].map((shape) => ({
    stem: 'gemm_q4' as const,
    shape,
    rows: 140,
    cols: 128,
    format: q4(64, 'bf16'),
    tokens: 70,
    baseUnits: 2,
    why: `tiles of ${shape.ty * 8} tokens by ${shape.tx * (shape.wide ? 8 : 4)} rows, none of them full at the end`,
  })),
  {
    stem: 'gemm_q4',
    shape: flat,
    ...usual,
    tokens: 33,
    cuts: [1, 40],
    why: 'parts that begin within a tile write their columns only',
  },
  {
    stem: 'gemm_q4',
    shape: square,
    rows: 70,
    cols: 256,
    format: q4(128, 'f16'),
    accumulate: true,
    tokens: 7,
    cuts: [66],
    baseUnits: 5,
    why: 'two parts add to y; groups of four steps',
  },
  { stem: 'gemm_q4', shape: square, tile: 'f16', ...usual, tokens: 33, cuts: [1, 40], why: 'operands rounded to f16' },

  { stem: 'gemm_q4_outer', outer, rows: 1, cols: 32, format: q4(32, 'bf16'), tokens: 1, why: 'one row of one group' },
  ...[outer, { ...outer, tx: 8, columns: 32, ahead: true } as const, { ...outer, wide: false, columns: 32 } as const].map(
    (tile) => ({
      stem: 'gemm_q4_outer' as const,
      outer: tile,
      rows: 140,
      cols: 128,
      format: q4(64, 'bf16'),
      tokens: 70,
      baseUnits: 2,
      why: `tiles of ${tile.ty * 8} tokens by ${tile.tx * (tile.wide ? 8 : 4)} rows, none of them full at the end`,
    }),
  ),
  {
    stem: 'gemm_q4_outer',
    outer: { tx: 8, ty: 4, wide: false, columns: 32, ahead: true },
    rows: 70,
    cols: 32,
    format: q4(32, 'f32'),
    tokens: 70,
    grid: [2, 3, 3],
    why: 'row tiles folded into z; pairs of f32',
  },
  {
    stem: 'gemm_q4_outer',
    outer,
    rows: 70,
    cols: 256,
    format: q4(128, 'f16'),
    accumulate: true,
    tokens: 7,
    cuts: [66],
    baseUnits: 5,
    why: 'two parts add to y; groups of eight steps',
  },

  { stem: 'gemm_q4_split', rows: 1, cols: 32, format: q4(32, 'bf16'), tokens: 1, why: 'one row of one group, most lanes idle' },
  {
    stem: 'gemm_q4_split',
    rows: 10,
    cols: 32,
    format: q4(32, 'f32'),
    tokens: 9,
    grid: [2, 2, 2],
    why: 'row blocks folded into z; pairs of f32',
  },
  ...[1, 7, 8, 33].map((tokens) => ({
    stem: 'gemm_q4_split' as const,
    ...usual,
    cols: 576,
    tokens,
    why: `${tokens} tokens of blocks of eight; lanes idle in the second step`,
  })),
  {
    stem: 'gemm_q4_split',
    rows: 33,
    cols: 256,
    format: q4(128, 'f16'),
    accumulate: true,
    tokens: 7,
    cuts: [1, 30],
    baseUnits: 5,
    why: 'three parts add to y',
  },
  ...(
    [
      { lanes: 32, tokens: 2 },
      { lanes: 128, tokens: 4 },
    ] as const
  ).map((team) => ({
    stem: 'gemm_q4_split' as const,
    team,
    rows: 33,
    cols: 672,
    format: q4(32, 'bf16'),
    tokens: 9,
    cuts: [29],
    why: `${team.lanes} lanes, ${team.tokens} tokens each; some lanes idle in the last step`,
  })),

  { stem: 'gemm_direct', rows: 1, cols: 4, format: f32, tokens: 1, why: 'the smallest' },
  { stem: 'gemm_direct', rows: 1_500, cols: 4, format: f32, tokens: 5, grid: [2, 2, 4], why: 'row blocks folded into z' },
  ...steps.map((tokens) => ({
    stem: 'gemm_direct' as const,
    ...straddling,
    tokens,
    why: `${tokens} tokens of blocks of four; rows end within a block`,
  })),
  { stem: 'gemm_direct', ...straddling, tokens: 33, cuts: [1, 40], why: 'parts write their columns only' },
  {
    stem: 'gemm_direct',
    rows: 270,
    cols: 128,
    format: q3(128, 'f16'),
    accumulate: true,
    tokens: 7,
    cuts: [259],
    baseUnits: 5,
    why: 'two parts add to y; more rows than a workgroup',
  },
  { stem: 'gemm_direct', rows: 9, cols: 64, format: q3(64, 'f32'), tokens: 2, why: 'pairs of f32' },
  { stem: 'gemm_direct', rows: 9, cols: 36, format: bf16, tokens: 7, cuts: [4], why: 'padded rows' },
  { stem: 'gemm_direct', rows: 33, cols: 12, format: f16, accumulate: true, tokens: 33, why: 'padded rows, added to y' },

  { stem: 'gemm_q4_direct', rows: 1, cols: 32, format: q4(32, 'bf16'), tokens: 1, why: 'one row of one group' },
  {
    stem: 'gemm_q4_direct',
    rows: 2_500,
    cols: 32,
    format: q4(32, 'bf16'),
    tokens: 5,
    grid: [2, 2, 3],
    why: 'row blocks folded into z',
  },
  ...steps.map((tokens) => ({
    stem: 'gemm_q4_direct' as const,
    ...usual,
    tokens,
    why: `${tokens} tokens of blocks of four; rows end within a block of eight`,
  })),
  { stem: 'gemm_q4_direct', ...usual, tokens: 33, cuts: [1, 40], why: 'parts write their columns only' },
  {
    stem: 'gemm_q4_direct',
    rows: 12,
    cols: 128,
    format: q4(64, 'f16'),
    accumulate: true,
    tokens: 7,
    cuts: [3],
    baseUnits: 5,
    why: 'two parts add to y',
  },
  {
    stem: 'gemm_q4_direct',
    rows: 530,
    cols: 384,
    format: q4(128, 'f32'),
    tokens: 2,
    why: 'more rows than a workgroup; pairs of f32',
  },
];

export const gemmCases: KernelCase[] = table.map((row) => ({
  kernel: row.stem,
  name: nameOf(row),
  why: row.why,
  run: (gpu) => run(gpu, row),
}));

function nameOf({ tile, shape, outer, team, rows, cols, format, tokens, accumulate, cuts = [] }: Row): string {
  const variant = [
    tile ? `${tile} tiles` : '',
    shape ? `${shape.ty}x${shape.tx}${shape.wide ? ' wide' : ''}${shape.ahead ? ' ahead' : ''}` : '',
    outer ? `${outer.ty}x${outer.tx}${outer.wide ? ' wide' : ''} by ${outer.columns}${outer.ahead ? ' ahead' : ''}` : '',
    team ? `${team.lanes} lanes by ${team.tokens}` : '',
  ];
  const size = `${tokens} x ${rows} x ${cols}`;
  const rest = [accumulate ? 'accumulate' : '', cuts.length ? `cut before ${cuts}` : ''];
  return [...variant, describeFormat(format), size, ...rest].filter(Boolean).join(', ');
}

async function run(gpu: Gpu, row: Row): ReturnType<KernelCase['run']> {
  const { stem, tile, rows, cols, format, tokens, accumulate = false, cuts = [], baseUnits = 0, grid } = row;
  if (tile && !gpu.f16) return skip('the device has no shader-f16');
  const next = random(7);
  const matrix = randomMatrix(next, rows, cols, format);
  const x = uniform(next, tokens * cols);
  const before = uniform(next, tokens * rows);
  return onBench(gpu, async (bench) => {
    const y = bench.output(accumulate ? before : tokens * rows);
    const shape = { cols, outCols: rows, format, accumulate, f16: tile === 'f16' };
    const kernel = create(gpu, row, shape);
    requireStem(kernel, stem);
    const used = grid ? { ...kernel, grid: () => grid } : kernel;
    const bindings = { x: bench.input(x), y, step: bench.step({ tokens }) };
    const parts = bench.matrix(matrix, { baseUnits, cuts });
    await bench.run(...parts.map((part) => ({ kernel: used, bindings, tokens, ...part })));
    const want = gemmReference(x, matrix.values, { tokens, rows, cols });
    const scale = gemmReference(x.map(Math.abs), matrix.sizes, { tokens, rows, cols });
    for (let i = 0; i < want.length && accumulate; i++) {
      want[i]! += before[i]!;
      scale[i]! += Math.abs(before[i]!);
    }
    // As gemv: cols products added, four more roundings. A tile of f16 rounds both operands to 11 bits (2^-10 in any
    // direction); what is below 2^-14 loses at most 2^-24, nothing against sums of values near 1.
    const tolerance = (cols + 4) * ulp + (tile ? 2 * 2 ** -10 : 0);
    return compare('y', await bench.read(y), want, tolerance, scale);
  });
}

function create(gpu: Gpu, { stem, shape: tile, outer, team = { lanes: 64, tokens: 8 } }: Row, shape: GemmShape): Kernel {
  if (stem === 'gemm') return createGemm(gpu, shape);
  if (stem === 'gemm_direct' || stem === 'gemm_q4_direct') return createGemmDirect(gpu, shape);
  const { format } = shape;
  if (format.kind !== 'affine' || format.bits !== 4) throw new Error('gemm_q4 takes 4-bit weights');
  const q4Shape = { ...shape, format: { ...format, bits: 4 as const } };
  if (outer) return createGemmQ4Outer(gpu, { ...q4Shape, tile: outer });
  return tile ? createGemmQ4(gpu, { ...q4Shape, tile }) : createGemmQ4Split(gpu, { ...q4Shape, team });
}
