import type { Gpu } from '../gpu/device';
import type { BufferRange } from '../gpu/memory';
import {
  type AttentionTile,
  attentionTileName,
  createAttention,
  createAttentionCombine,
  createAttentionDirect,
  createAttentionSplit,
  createAttentionTiled,
} from '../kernels/attention';
import { attentionReference } from '../kernels/reference/attention';
import type { KvDtype } from '../kernels/variants';
import {
  type Bench,
  compare,
  expUlps,
  type KernelCase,
  type Outcome,
  type Output,
  onBench,
  type Reduction,
  type Run,
  random,
  skip,
  ulp,
  uniform,
  withReduction,
} from './harness';
import { randomCache } from './kv_cache';

type Shape = { kv: KvDtype; heads: number; kvHeads: number; headDim: number };
type Row = Shape & { reduction: Reduction; tokens: number; position: number; sharpness?: number; why: string };
/** Of attention_split and attention_combine, which run as a pair: `stem` is the one that the row is about. */
type SplitRow = Omit<Row, 'tokens' | 'reduction'> & {
  stem: 'attention_split' | 'attention_combine';
  reduction: 'workgroup' | 'subgroups';
  parts: number;
};

const small: Shape = { kv: 'f16', heads: 4, kvHeads: 1, headDim: 256 };
const odd: Shape = { kv: 'f32', heads: 6, kvHeads: 2, headDim: 32 };
const rows: Row[] = [
  { reduction: 'workgroup', ...small, tokens: 1, position: 0, why: 'one token at position 0: one key, 63 lanes masked' },
  { reduction: 'workgroup', ...small, tokens: 2, position: 62, why: 'the second token fills the first block of 64 keys' },
  { reduction: 'workgroup', ...small, tokens: 2, position: 63, why: 'the second token begins another block' },
  { reduction: 'workgroup', ...odd, tokens: 33, position: 100, why: 'blocks begin within the step; three queries a key head' },
  { reduction: 'subgroups', ...small, tokens: 1, position: 0, why: 'one token at position 0' },
  { reduction: 'subgroups', ...small, tokens: 7, position: 125, why: 'lengths on both sides of 128 keys' },
  {
    reduction: 'subgroups',
    ...small,
    tokens: 2,
    position: 130,
    sharpness: 20,
    why: 'sharp: later blocks outweigh earlier ones by far',
  },
  {
    reduction: 'subgroups',
    kv: 'f16',
    heads: 6,
    kvHeads: 1,
    headDim: 128,
    tokens: 31,
    position: 0,
    why: 'prefill from nothing, six queries a key head',
  },
  {
    reduction: 'subgroups',
    kv: 'f32',
    heads: 5,
    kvHeads: 1,
    headDim: 64,
    tokens: 64,
    position: 1,
    why: 'five queries a key head, f32 cache',
  },
  { reduction: 'direct', ...small, tokens: 1, position: 0, why: 'one token at position 0' },
  { reduction: 'direct', ...small, tokens: 33, position: 63, why: 'more threads than one workgroup' },
  { reduction: 'direct', ...small, tokens: 2, position: 130, sharpness: 20, why: 'sharp: the largest score keeps moving' },
  { reduction: 'direct', ...odd, tokens: 7, position: 100, why: 'three queries a key head, f32 cache' },
  {
    reduction: 'direct',
    kv: 'f32',
    heads: 2,
    kvHeads: 2,
    headDim: 64,
    tokens: 2,
    position: 5,
    why: 'a key head for every query',
  },
  {
    reduction: 'direct',
    kv: 'f16',
    heads: 16,
    kvHeads: 1,
    headDim: 128,
    tokens: 7,
    position: 60,
    why: 'sixteen queries a key head; threads past the end',
  },
];

/** `pieces`: first tiles of dispatches one after another. */
type TiledRow = Omit<Row, 'reduction'> & { tile: AttentionTile; pieces?: number[] };
const narrow: AttentionTile = { rows: 32, wide: false, ahead: false };
const tiledRows: TiledRow[] = [
  { tile: narrow, ...small, tokens: 1, position: 0, why: 'one token at position 0: one key; most rows repeat the last' },
  { tile: narrow, ...small, tokens: 9, position: 60, why: 'two tiles; a second block begins within the first' },
  { tile: narrow, ...odd, tokens: 33, position: 100, why: 'three queries a key head, tokens across tiles, f32 cache' },
  {
    tile: { ...narrow, ahead: true },
    ...small,
    tokens: 2,
    position: 130,
    sharpness: 20,
    why: 'sharp: later blocks outweigh earlier ones by far',
  },
  {
    tile: { ...narrow, wide: true },
    kv: 'f16',
    heads: 6,
    kvHeads: 1,
    headDim: 128,
    tokens: 31,
    position: 110,
    why: 'blocks of 128 keys in two passes; idle lanes; six queries a key head',
  },
  {
    tile: { rows: 64, wide: false, ahead: true },
    kv: 'f32',
    heads: 10,
    kvHeads: 2,
    headDim: 36,
    tokens: 27,
    position: 63,
    why: 'tiles of 64 rows in two passes, a quad in the last step; five queries a key head',
  },
  {
    tile: narrow,
    ...odd,
    tokens: 50,
    position: 3,
    pieces: [0, 3],
    why: 'five tiles of a key head from the first, two from the fourth',
  },
];

const [split, combine] = ['attention_split', 'attention_combine'] as const;
const four = { reduction: 'workgroup' as const, ...small, parts: 4 };
const six: Shape & { parts: number } = { kv: 'f16', heads: 12, kvHeads: 2, headDim: 128, parts: 3 };
const many: Shape & { parts: number } = { kv: 'f32', heads: 2, kvHeads: 2, headDim: 64, parts: 130 };
const splitRows: SplitRow[] = [
  { stem: split, ...four, position: 0, why: 'one key; three parts hold none' },
  { stem: split, ...four, position: 63, why: 'the first part is full' },
  { stem: split, ...four, position: 64, why: 'a second part of one key' },
  { stem: split, ...four, position: 255, why: 'every part is full' },
  { stem: split, ...four, position: 256, why: 'parts of two blocks: one key in the last of three' },
  { stem: split, ...four, position: 700, sharpness: 20, why: 'sharp: later blocks and parts outweigh earlier ones by far' },
  { stem: split, reduction: 'workgroup', ...six, position: 150, why: 'six queries a key head are two quartets, one half empty' },
  { stem: split, reduction: 'workgroup', ...six, position: 330, why: 'the same with two blocks a part' },
  {
    stem: split,
    reduction: 'workgroup',
    kv: 'f32',
    heads: 6,
    kvHeads: 2,
    headDim: 36,
    parts: 2,
    position: 90,
    why: 'three queries a key head; quads that eight lanes do not share evenly, idle lanes, teams that do not divide a block',
  },
  {
    stem: split,
    reduction: 'workgroup',
    kv: 'f16',
    heads: 16,
    kvHeads: 1,
    headDim: 256,
    parts: 2,
    position: 200,
    why: 'sixteen queries a key head go to two workgroups; the largest tile',
  },
  { stem: combine, ...four, reduction: 'subgroups', position: 3, why: 'one part' },
  {
    stem: combine,
    reduction: 'workgroup',
    ...many,
    position: 64 * 70 + 1,
    why: 'more parts than lanes; the last ones are empty',
  },
  { stem: combine, reduction: 'subgroups', ...many, position: 64 * 130 - 1, sharpness: 8, why: 'every part is full' },
];

export const attentionCases: KernelCase[] = [
  ...rows.map(({ reduction, tokens, ...row }): KernelCase => {
    const name = `${reduction}, kv ${row.kv}, ${tokens} at ${row.position}, heads ${row.heads}/${row.kvHeads} x ${row.headDim}`;
    const [kernel, create] =
      reduction === 'direct' ? (['attention_direct', createAttentionDirect] as const) : (['attention', createAttention] as const);
    const runs: Runs = (gpu, _, { q, qGate, keys, values, y, step }) => [
      { kernel: create(gpu, row), bindings: { q, qGate, keys, values, y, step }, tokens },
    ];
    const check = { ...row, tokens, chain: row.position + tokens };
    return { kernel, name, why: row.why, run: (device) => checkAttention(device, reduction, check, runs) };
  }),
  ...tiledRows.map(({ tile, tokens, pieces, ...row }): KernelCase => {
    const shape = `kv ${row.kv}, ${tokens} at ${row.position}, heads ${row.heads}/${row.kvHeads} x ${row.headDim}`;
    const name = `${attentionTileName(tile)}, ${shape}${pieces ? `, from tiles ${pieces}` : ''}`;
    const runs: Runs = (gpu, bench, { q, qGate, keys, values, y, step }) => {
      const kernel = createAttentionTiled(gpu, { ...row, tile });
      const ranges = { q, qGate, keys, values, y };
      if (!pieces) return [{ kernel, bindings: { ...ranges, step }, tokens }];
      return pieces.map((firstTile, i) => {
        const [x, all = 1] = kernel.grid(tokens, 0);
        const own = { ...kernel, grid: () => [x, (pieces[i + 1] ?? all) - firstTile] as const };
        const at = bench.step({ tokens, position: row.position, firstTile });
        return { kernel: own, bindings: { ...ranges, step: at }, tokens };
      });
    };
    const check = { ...row, tokens, chain: row.position + tokens };
    return { kernel: 'attention_tiled', name, why: row.why, run: (device) => checkAttention(device, 'workgroup', check, runs) };
  }),
  ...splitRows.map(({ stem, reduction, ...row }): KernelCase => {
    const { kv, heads, kvHeads, headDim, parts, position } = row;
    const name = `${reduction}, kv ${kv}, at ${position} in ${parts} parts, heads ${heads}/${kvHeads} x ${headDim}`;
    const runs: Runs = (gpu, bench, { q, qGate, keys, values, y, step }) => {
      const [sums, stats] = [bench.output(parts * heads * headDim), bench.output(parts * heads * 2)];
      const first: Run = { kernel: createAttentionSplit(gpu, row), bindings: { q, keys, values, sums, stats, step } };
      const second: Run = { kernel: createAttentionCombine(gpu, row), bindings: { sums, stats, qGate, y, step } };
      return [first, second];
    };
    const keysOfPart = 64 * Math.ceil((position + 1) / (64 * parts));
    const check = { ...row, tokens: 1, chain: keysOfPart + parts };
    return { kernel: stem, name, why: row.why, run: (device) => checkAttention(device, reduction, check, runs) };
  }),
];

type Buffers = Record<'q' | 'qGate' | 'keys' | 'values' | 'step', BufferRange> & { y: Output };
type Runs = (gpu: Gpu, bench: Bench, buffers: Buffers) => Run[];
/** `chain`: terms that are added up one after the other. */
type Check = Shape & { tokens: number; position: number; sharpness?: number; chain: number };

async function checkAttention(device: Gpu, reduction: Reduction, check: Check, runs: Runs): Promise<Outcome> {
  const gpu = withReduction(device, reduction);
  if (typeof gpu === 'string') return skip(gpu);
  const { kv, heads, kvHeads, headDim, tokens, position, sharpness = 3, chain } = check;
  const next = random(9);
  const q = uniform(next, tokens * heads * headDim, -sharpness, sharpness);
  const qGate = uniform(next, tokens * heads * 2 * headDim, -4, 4);
  // One position more than is attended to: a kernel that looks ahead sees it.
  const keys = randomCache(next, kv, (position + tokens + 1) * kvHeads * headDim);
  const values = randomCache(next, kv, (position + tokens + 1) * kvHeads * headDim);
  return onBench(gpu, async (bench) => {
    const y = bench.output(tokens * heads * headDim);
    const [cachedKeys, cachedValues] = [bench.input(keys.words), bench.input(values.words)];
    const step = bench.step({ tokens, position });
    await bench.run(
      ...runs(gpu, bench, { q: bench.input(q), qGate: bench.input(qGate), keys: cachedKeys, values: cachedValues, y, step }),
    );
    const inputs = { q, qGate, keys: keys.numbers, values: values.numbers };
    const shape = { tokens, position, heads, kvHeads, headDim };
    const want = attentionReference(inputs, shape);
    // Each weight e^(score - most) is off by the score's absolute error (a chain of headDim / 4 sums of products of at most
    // sharpness / sqrt(headDim) each, four at a time) and exp's; they are added up twice, over the length and over the
    // length again; the gate is a sigmoid. Relative to the same average of |v|.
    const range = 2 * sharpness * Math.sqrt(headDim);
    const score = (headDim / 4 + 8) * sharpness * Math.sqrt(headDim);
    const tolerance = (2 * (score + expUlps(range) + chain) + expUlps(4) + 6) * ulp;
    const scale = attentionReference({ ...inputs, values: values.numbers.map(Math.abs) }, shape);
    return compare('y', await bench.read(y), want, tolerance, scale);
  });
}
