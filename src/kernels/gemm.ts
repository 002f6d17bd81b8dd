import source from '../../wgsl/gemm.wgsl?raw';
import sourceDirect from '../../wgsl/gemm_direct.wgsl?raw';
import sourceQ4 from '../../wgsl/gemm_q4.wgsl?raw';
import sourceQ4Direct from '../../wgsl/gemm_q4_direct.wgsl?raw';
import sourceOuter from '../../wgsl/gemm_q4_outer.wgsl?raw';
import sourceSplit from '../../wgsl/gemm_q4_split.wgsl?raw';
import q4Rows from '../../wgsl/shared/q4_rows.wgsl?raw';
import type { MatrixFormat } from '../format/types';
import type { Gpu } from '../gpu/device';
import { createKernel, fold, type Kernel, kernelByTokens } from '../gpu/kernel';
import type { Candidate, ProductShape } from './candidates';
import { createGemmQ4Few, gemmFewCandidates, usualFewTeam } from './gemm_few';
import { type Affine4, isAffine4, matrix, requireMultiple, shared, tile } from './variants';

/** `outCols`: columns of y, all parts together. `accumulate`: add to y. `f16`: round operand tiles to f16 where the device can. */
export type GemmShape = { cols: number; outCols: number; format: MatrixFormat; accumulate: boolean; f16: boolean };

/**
 * Y = X W^T for a step of several tokens, any weight format, 32 x 32 tiles.
 * x [tokens, cols] f32 -> y [tokens, outCols] f32 at the part's columns.
 * @throws EngineError 'shape' unless 4 divides cols, and group divides it for affine formats.
 */
export function createGemm(gpu: Gpu, { cols, outCols, format, accumulate, f16 }: GemmShape): Kernel {
  const piece = matrix(format);
  const tiles = tile(gpu, f16);
  const label = `gemm${piece.suffix}${tiles.suffix}`;
  requireMultiple(label, 'cols', cols, format.kind === 'affine' ? format.group : 4);
  return createKernel(gpu, {
    label,
    sources: [...piece.sources, shared.step, ...tiles.sources, source],
    enable: tiles.enable,
    constants: { COLS: cols, Y_COLS: outCols, ACCUMULATE: Number(accumulate), ...piece.constants },
    bindings: { x: 'read', y: 'write', step: 'uniform' },
    weights: 'matrix',
    grid: (tokens, rows) => {
      const [x, z] = fold(Math.ceil(rows / 32));
      return [x, Math.ceil(tokens / 32), z];
    },
  });
}

/**
 * The same without workgroup memory or barriers: for CPU adapters, where both are slow to compile and to run.
 * Sizes come from the record, so that one pipeline serves every matrix.
 */
export function createGemmDirect(gpu: Gpu, { format, accumulate }: Pick<GemmShape, 'format' | 'accumulate'>): Kernel {
  const piece = matrix(format);
  const q4 = format.kind === 'affine' && format.bits === 4;
  const rowsPerGroup = 64 * (q4 ? 8 : 4);
  const label = `${q4 ? 'gemm_q4_direct' : 'gemm_direct'}${piece.suffix}`;
  return createKernel(gpu, {
    label,
    sources: [...piece.sources, shared.step, q4 ? sourceQ4Direct : sourceDirect],
    constants: { ACCUMULATE: Number(accumulate), ...piece.constants },
    bindings: { x: 'read', y: 'write', step: 'uniform' },
    weights: 'matrix',
    grid: (tokens, rows) => {
      const [x, z] = fold(Math.ceil(rows / rowsPerGroup));
      return [x, Math.ceil(tokens / 4), z];
    },
  });
}

/**
 * A tile of 8 ty tokens by 8 tx rows (`wide`) or 4 tx rows, made by tx x ty threads. `ahead`: read the next columns while multiplying.
 * No thread may bring more than two rows of weights: tx x ty is at least half of the rows.
 */
export type GemmTile = { tx: 8 | 16; ty: 4 | 8; wide: boolean; ahead: boolean };

/**
 * The same for 4-bit affine weights: larger tiles, more sums a thread. Tiles of any shape give the same bits.
 * @throws EngineError 'shape' unless 32 divides group and group divides cols.
 */
export function createGemmQ4(
  gpu: Gpu,
  {
    cols,
    format,
    accumulate,
    f16,
    tile: { tx, ty, wide, ahead },
  }: Omit<GemmShape, 'outCols'> & { format: Affine4; tile: GemmTile },
): Kernel {
  const piece = matrix(format);
  const operands = tile(gpu, f16);
  const rows = tx * (wide ? 8 : 4);
  const label = `gemm_q4${piece.suffix} ${ty * 8}x${rows}${ahead ? ' ahead' : ''}${operands.suffix}`;
  requireMultiple(label, 'group', format.group, 32);
  requireMultiple(label, 'cols', cols, format.group);
  return createKernel(gpu, {
    label,
    sources: [...piece.sources, shared.step, ...operands.sources, sourceQ4],
    enable: operands.enable,
    constants: {
      ...{
        COLS: cols,
        ACCUMULATE: Number(accumulate),
        TX: tx,
        TY: ty,
        WIDE: Number(wide),
        AHEAD: Number(ahead),
      },
      ...piece.constants,
    },
    bindings: { x: 'read', y: 'write', step: 'uniform' },
    weights: 'matrix',
    grid: (tokens, rowCount) => {
      const [x, z] = fold(Math.ceil(rowCount / rows));
      return [x, Math.ceil(tokens / (8 * ty)), z];
    },
  });
}

/** A tile of 8 ty tokens by 4 tx rows (`wide`: 8 tx), `columns` at a time. No thread may bring more than two parts of either. */
export type OuterTile = { tx: 8 | 16 | 32; ty: 4 | 8 | 16; wide: boolean; columns: 16 | 32; ahead: boolean };

/**
 * The same bits as createGemmQ4 from tiles that lie turned, which need fewer registers.
 * @throws EngineError 'shape' unless 32 divides group and group divides cols.
 */
export function createGemmQ4Outer(
  gpu: Gpu,
  { cols, format, accumulate, tile }: Pick<GemmShape, 'cols' | 'accumulate'> & { format: Affine4; tile: OuterTile },
): Kernel {
  const { tx, ty, wide, columns, ahead } = tile;
  const piece = matrix(format);
  const label = `gemm_q4_outer${piece.suffix} ${outerName(tile)}`;
  requireMultiple(label, 'group', format.group, 32);
  requireMultiple(label, 'cols', cols, format.group);
  return createKernel(gpu, {
    label,
    sources: [...piece.sources, shared.step, q4Rows, sourceOuter],
    constants: {
      ...{ COLS: cols, ACCUMULATE: Number(accumulate) },
      ...{ TX: tx, TY: ty, WIDE: Number(wide), AHEAD: Number(ahead), K: columns },
      ...piece.constants,
    },
    bindings: { x: 'read', y: 'write', step: 'uniform' },
    weights: 'matrix',
    grid: (tokens, rows) => {
      const [x, z] = fold(Math.ceil(rows / (tx * (wide ? 8 : 4))));
      return [x, Math.ceil(tokens / (8 * ty)), z];
    },
  });
}

const outerName = ({ tx, ty, wide, columns, ahead }: OuterTile): string =>
  `${8 * ty}x${tx * (wide ? 8 : 4)}, ${wide ? '8x8' : '8x4'} a thread, ${columns} columns${ahead ? ', ahead' : ''}`;

/** A workgroup of `lanes` makes four rows by `tokens` tokens. */
export type SplitTeam = { lanes: 32 | 64 | 128; tokens: 2 | 4 | 8 };

/**
 * The same for few tokens or few rows, where tiles would leave most of a GPU without work: a workgroup's lanes share the columns.
 * @throws EngineError 'shape' unless 8 divides group and group divides cols.
 */
export function createGemmQ4Split(
  gpu: Gpu,
  { cols, format, accumulate, team }: Pick<GemmShape, 'cols' | 'accumulate'> & { format: Affine4; team: SplitTeam },
): Kernel {
  const { lanes, tokens } = team;
  const piece = matrix(format);
  const label = `gemm_q4_split${piece.suffix} ${splitName(team)}`;
  requireMultiple(label, 'group', format.group, 8);
  requireMultiple(label, 'cols', cols, format.group);
  return createKernel(gpu, {
    label,
    sources: [...piece.sources, shared.step, sourceSplit],
    constants: { COLS: cols, ACCUMULATE: Number(accumulate), LANES: lanes, TOKENS: tokens, ...piece.constants },
    bindings: { x: 'read', y: 'write', step: 'uniform' },
    weights: 'matrix',
    grid: (count, rows) => {
      const [x, z] = fold(Math.ceil(rows / 4));
      return [x, Math.ceil(count / tokens), z];
    },
  });
}

const splitName = ({ lanes, tokens }: SplitTeam): string => `${tokens} tokens, ${lanes} lanes`;

/** What a GPU of 132 cores wants to have at once; with fewer it shares the columns among lanes instead. */
const fewTiles = 160;
/** Below this many rows even the longest chunk makes too few tiles. */
const fewRows = 256;
/** From so many rows on gemm_q4_few has work for a large GPU. Measured at 17408; fewer may do. */
const manyRows = 8192;
/**
 * Of all tried on an NVIDIA H200 the fastest wherever there are enough tiles: 54 % of the multiply-add rate at 17408 rows and 512 tokens,
 * 51 % at 5120.
 */
const usualTile: OuterTile = { tx: 16, ty: 8, wide: false, columns: 16, ahead: false };
/** A core with one tile has nothing else to do while it reads. */
const loneTile: GemmTile = { tx: 16, ty: 8, wide: false, ahead: true };
/** Slices of the head come with a few rows of x at a time. */
const slicedTeam: SplitTeam = { lanes: 64, tokens: 8 };

/**
 * What a recording runs for several tokens. `sliced`: rows of the matrix may be cut anywhere and chunks with
 * them, so the choice must give the same bits for any number of either.
 */
export function chooseGemm(gpu: Gpu, shape: GemmShape, sliced = false): Kernel {
  const { format, outCols, f16 } = shape;
  if (gpu.direct && !f16) return createGemmDirect(gpu, shape);
  if (!isAffine4(format) || format.group % 32 !== 0) return createGemm(gpu, shape);
  if (sliced) return createGemmQ4Split(gpu, { ...shape, format, team: slicedTeam });
  const split = (tokens: 2 | 4 | 8) => createGemmQ4Split(gpu, { ...shape, format, team: { lanes: 64, tokens } });
  const last = split(8);
  const few = ([2, 4, 8] as const).map((tokens) => ({
    upTo: tokens as number,
    kernel: outCols < manyRows ? split(tokens) : createGemmQ4Few(gpu, { ...shape, format, team: usualFewTeam(tokens) }),
  }));
  if (outCols < fewRows) return kernelByTokens([...few.slice(0, 2), { upTo: Number.POSITIVE_INFINITY, kernel: last }]);
  const tooFew = 64 * Math.ceil(fewTiles / Math.ceil(outCols / 64) - 1); // tokens that still make fewer tiles than that
  const splitUpTo = Math.min(256, Math.max(32, tooFew));
  return kernelByTokens([
    ...few,
    { upTo: splitUpTo, kernel: last },
    ...(tooFew > splitUpTo ? [{ upTo: tooFew, kernel: createGemmQ4(gpu, { ...shape, format, tile: loneTile }) }] : []),
    {
      upTo: Number.POSITIVE_INFINITY,
      kernel: f16
        ? createGemmQ4(gpu, { ...shape, format, tile: { ...loneTile, ahead: false } })
        : createGemmQ4Outer(gpu, { ...shape, format, tile: usualTile }),
    },
  ]);
}

/** Within the 16 KiB that every device has; larger ones were no faster (test/bench/results.csv). */
const tiles: Omit<GemmTile, 'ahead'>[] = [
  { tx: 8, ty: 8, wide: true },
  { tx: 16, ty: 8, wide: false },
  { tx: 16, ty: 4, wide: false },
];

/** 16 KiB at most, threads of 128: 256 of them, or reading ahead, gained nothing (test/bench/results.csv). */
const outerTiles: OuterTile[] = [
  { tx: 16, ty: 8, wide: false, columns: 16, ahead: false },
  { tx: 16, ty: 8, wide: false, columns: 16, ahead: true },
  { tx: 16, ty: 8, wide: true, columns: 16, ahead: false },
  { tx: 8, ty: 16, wide: true, columns: 16, ahead: false },
];

/** Tokens that a workgroup takes of so many at most. */
const splitTokens = (count: number): SplitTeam['tokens'][] => (count <= 2 ? [2] : count <= 4 ? [2, 4] : [4, 8]);

/** What a GPU may run for several tokens; sums are f32 and operands are not rounded. */
export function gemmCandidates({ tokens, cols, outCols, format, accumulate }: ProductShape): Candidate[] {
  const shape = { cols, outCols, accumulate, f16: false };
  const plain: Candidate = { name: 'gemm', create: (gpu) => createGemm(gpu, { ...shape, format }) };
  if (!isAffine4(format) || format.group % 32 !== 0) return [plain];
  const both = [false, true].flatMap((ahead) => tiles.map((tile) => ({ ...tile, ahead })));
  const tiled = both.map((tile): Candidate => {
    const name = `tile ${8 * tile.ty}x${(tile.wide ? 8 : 4) * tile.tx}, ${tile.wide ? '8x8' : '8x4'} a thread${tile.ahead ? ', ahead' : ''}`;
    return { name, create: (gpu) => createGemmQ4(gpu, { ...shape, format, tile }) };
  });
  const outer = outerTiles.map(
    (tile): Candidate => ({
      name: `outer ${outerName(tile)}`,
      create: (gpu) => createGemmQ4Outer(gpu, { cols, format, accumulate, tile }),
    }),
  );
  const split = splitTokens(tokens).flatMap((count) =>
    ([32, 64, 128] as const).map((lanes): Candidate => {
      const team = { lanes, tokens: count };
      return { name: `split ${splitName(team)}`, create: (gpu) => createGemmQ4Split(gpu, { cols, format, accumulate, team }) };
    }),
  );
  const few = gemmFewCandidates({ tokens, cols, outCols, format, accumulate });
  return [plain, ...(tokens > 8 ? [...tiled, ...outer] : []), ...split, ...few];
}
