/**
 * Times every candidate for every matrix of a model and every number of tokens, and checks each one's results. A chain of products
 * is timed: each reads what the one before wrote and takes the next copy of the weights, as the products of a decode step do.
 */
import { EngineError } from '../errors';
import type { Gpu } from '../gpu/device';
import type { Kernel } from '../gpu/kernel';
import { type Candidate, type ProductShape, usualTolerance } from '../kernels/candidates';
import { gemmCandidates } from '../kernels/gemm';
import { gemmFewIntCandidates } from '../kernels/gemm_few';
import { gemvCandidates, gemvUnitCandidates } from '../kernels/gemv';
import { type ActivationDtype, intDtypes, type UnitDtype } from '../kernels/variants';
import type { Effort } from './ceilings';
import { sampleWeights } from './check';
import type { BenchMatrix } from './matrices';
import { createFiller } from './probes';
import { type Activations, Product, type ProductTime } from './product';
import { makeWeights } from './weights';

export type KernelRow = Product['row'] & {
  candidate: string;
  activations: ActivationDtype | `${UnitDtype} ready`;
  /** 'wrong': it ran, and its figures do not count. 'failed': it did not compile or run. */
  outcome: 'right' | 'wrong' | 'failed';
  /** Relative error of the sample. */
  error?: number;
  /** Why it is wrong or failed. */
  reason?: string;
  /** The fastest right one of its matrix, its number of tokens and its activations; never one whose units cost nothing. */
  best: boolean;
} & Partial<ProductTime>;

export type KernelBench = {
  matrices: readonly BenchMatrix[];
  tokens: readonly number[];
  /** Bytes that the copies of one matrix take together: more than any cache holds. */
  rotateBytes: number;
  effort: Effort;
  /** A part of `${matrix} ${rows}x${cols} ${candidate}`. */
  only?: string;
  candidates?: (shape: ProductShape, gpu: Gpu) => Candidate[];
  onRows?(rows: readonly KernelRow[]): void;
};

/** Up to so many tokens a matrix-vector kernel that takes several is worth trying, and logits of all tokens are wanted. */
const fewTokens = 16;

export async function benchKernels(gpu: Gpu, bench: KernelBench): Promise<KernelRow[]> {
  const all: KernelRow[] = [];
  for (const matrix of bench.matrices) {
    const own = { ...gpu, memory: gpu.memory.scope() };
    try {
      all.push(...(await benchMatrix(own, matrix, bench)));
    } finally {
      own.memory.release();
    }
  }
  return all;
}

async function benchMatrix(gpu: Gpu, matrix: BenchMatrix, bench: KernelBench): Promise<KernelRow[]> {
  const wanted = bench.tokens
    .filter((tokens) => !matrix.head || tokens <= fewTokens)
    .map((tokens) => ({ tokens, candidates: candidatesFor(gpu, matrix, tokens, bench) }))
    .filter(({ candidates }) => candidates.length > 0);
  if (wanted.length === 0) return [];
  const { format } = matrix;
  const filler = await createFiller(gpu, format.kind === 'affine' ? format.bits : 4);
  const weights = await makeWeights(gpu, matrix, filler, bench.rotateBytes);
  const sampled = await sampleWeights(gpu, matrix, weights.copies[0]!);
  const all: KernelRow[] = [];
  for (const { tokens, candidates } of wanted) {
    const product = await Product.create(gpu, matrix, tokens, weights, sampled, filler);
    const rows = await benchCandidates(gpu, product, candidates, bench.effort);
    product.destroy();
    markBest(rows);
    bench.onRows?.(rows);
    all.push(...rows);
  }
  return all;
}

function candidatesFor(
  gpu: Gpu,
  matrix: BenchMatrix,
  tokens: number,
  { only, candidates = allCandidates }: KernelBench,
): Candidate[] {
  const { rows, cols, format } = matrix;
  const list = candidates({ tokens, cols, outCols: rows, format, accumulate: false }, gpu);
  return list.filter(({ name }) => `${matrix.label} ${rows}x${cols} ${name}`.includes(only ?? ''));
}

/** One list for one token, the other for many, both in between. */
function allCandidates(shape: ProductShape, gpu: Gpu): Candidate[] {
  const exact = shape.tokens <= fewTokens ? gemvCandidates(gpu, shape) : [];
  const fast = shape.tokens === 1 ? gemvUnitCandidates(gpu, shape) : [];
  const few = gemmFewIntCandidates(gpu, shape);
  return [...exact, ...fast, ...few, ...(shape.tokens > 1 ? gemmCandidates(shape) : [])];
}

async function benchCandidates(
  gpu: Gpu,
  product: Product,
  candidates: readonly Candidate[],
  effort: Effort,
): Promise<KernelRow[]> {
  const created = candidates.map((candidate) => create(gpu, candidate));
  // Compiled side by side, and all of them before the first is timed.
  const compiled = await Promise.all(created);
  const rows: KernelRow[] = [];
  for (const [i, candidate] of candidates.entries()) {
    const kernel = compiled[i]!;
    if (typeof kernel !== 'string' && !product.takes(kernel)) continue;
    for (const activations of trialsOf(candidate)) {
      const { dtype, ready } = activations;
      const name = dtype === 'f32' || ready ? candidate.name : `${candidate.name} + quantise`;
      const row = {
        ...product.row,
        candidate: name,
        activations: ready && dtype !== 'f32' ? (`${dtype} ready` as const) : dtype,
        best: false,
      } as const;
      if (typeof kernel === 'string') rows.push({ ...row, outcome: 'failed', reason: kernel });
      else rows.push({ ...row, ...(await benchCandidate(product, kernel, candidate, activations, effort)) });
    }
  }
  return rows;
}

const trialsOf = ({ x = 'f32' }: Candidate): Activations[] =>
  x === 'f32' ? [{ dtype: x }] : [{ dtype: x, ready: true }, { dtype: x }];

/** The kernel, ready, or why there is none. */
async function create(gpu: Gpu, candidate: Candidate): Promise<Kernel | string> {
  try {
    const kernel = candidate.create(gpu);
    await kernel.ready;
    return kernel;
  } catch (error) {
    return firstLine(error);
  }
}

type Measured = Omit<KernelRow, keyof Product['row'] | 'candidate' | 'activations' | 'best'>;

async function benchCandidate(
  product: Product,
  kernel: Kernel,
  { tolerance = usualTolerance }: Candidate,
  activations: Activations,
  effort: Effort,
): Promise<Measured> {
  try {
    const { error, fault } = await product.check(kernel, activations);
    const timing = await product.time(kernel, activations, effort);
    const reason = fault ?? (error > tolerance ? `relative error ${error.toExponential(1)}` : undefined);
    return { outcome: reason === undefined ? 'right' : 'wrong', error, ...(reason ? { reason } : {}), ...timing };
  } catch (error) {
    if (error instanceof EngineError && error.code === 'device-lost') throw error;
    return { outcome: 'failed', reason: firstLine(error) };
  }
}

const firstLine = (error: unknown): string => (error as Error).message.split('\n')[0]!;

function markBest(rows: readonly KernelRow[]): void {
  for (const kind of ['f32', 'f32x32', ...intDtypes] as const) {
    const right = rows.filter(({ outcome, activations }) => outcome === 'right' && activations === kind);
    if (right.length > 0) right.reduce((best, row) => (row.us! < best.us! ? row : best)).best = true;
  }
}
