import type { Kernel, MatrixReads, SlabRef } from './kernel';

/** One prepared dispatch: everything but the number of tokens is fixed at load. */
export type Dispatch = {
  kernel: Kernel;
  activations: GPUBindGroup;
  /** What the matrix lies in. */
  slab?: SlabRef;
  /** Rows of the matrix part that this dispatch multiplies by; 0 where there is none. */
  rows: number;
  reads?: MatrixReads;
};

/** What a pass was told last, which need not be said again: every call costs the thread that encodes a microsecond or two. */
export type PassState = { pipeline?: GPUComputePipeline; slab?: GPUBindGroup };

/**
 * Encodes dispatches into a pass. Nothing is created here: the per-token path only sets and dispatches. `state`: of this pass, where
 * more than one call encodes into it.
 */
export function encode(
  pass: GPUComputePassEncoder,
  dispatches: readonly Dispatch[],
  tokens: number,
  state: PassState = {},
): void {
  for (const { kernel, activations, slab, rows } of dispatches) {
    const [x, y = 1, z = 1] = kernel.grid(tokens, rows);
    if (x === 0) continue;
    const pipeline = kernel.pipeline(tokens);
    if (pipeline !== state.pipeline) pass.setPipeline(pipeline);
    state.pipeline = pipeline;
    pass.setBindGroup(0, activations);
    if (slab && slab.group !== state.slab) {
      pass.setBindGroup(1, slab.group);
      state.slab = slab.group;
    }
    if (y * z === 1) pass.dispatchWorkgroups(x);
    else pass.dispatchWorkgroups(x, y, z);
  }
}

/** The same over `count` tiles from step.firstTile on. */
export function someTiles(dispatch: Dispatch, count: number): Dispatch {
  const { kernel } = dispatch;
  const grid: Kernel['grid'] = (tokens, rows) => [kernel.grid(tokens, rows)[0], count];
  return { ...dispatch, kernel: { ...kernel, grid } };
}
