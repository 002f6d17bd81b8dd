/**
 * The ways to multiply by one matrix, which the benchmark measures; among those for one token a session chooses by measurement too. Those
 * with the same kind of x compute the same function from the same bindings, so whoever holds a recording can put one in another's place.
 */
import type { MatrixFormat } from '../format/types';
import type { Gpu } from '../gpu/device';
import type { Kernel } from '../gpu/kernel';
import type { UnscaledHeads, Write } from './gemv_teams';
import type { ActivationDtype } from './variants';

/** A matrix product as a recording wants it. `tokens`: rows of x, 1 for a GEMV. `outCols`: columns of y, all parts together. */
export type ProductShape = {
  tokens: number;
  cols: number;
  outCols: number;
  format: MatrixFormat;
  accumulate: boolean;
  write?: Write;
  heads?: UnscaledHeads;
};

/**
 * `name` says what is different about it, in a word or two. chooseGemm says what runs for a prompt, chooseGemv for a token where nothing
 * was measured.
 */
export type Candidate = {
  name: string;
  create(gpu: Gpu): Kernel;
  /** What the kernel's x must be. Default 'f32'. */
  x?: ActivationDtype;
  /** Relative error beyond which it is wrong. Default: `usualTolerance`. */
  tolerance?: number;
};

/** Of kernels whose activations are f32: far above what any order of adding gives, far below what any mistake does. */
export const usualTolerance = 1e-3;
