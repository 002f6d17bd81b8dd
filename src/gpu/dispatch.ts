import type { Kernel } from './kernel';

/** A slab as dispatches see it; for what passes through a ring of slots, `group` is set before each use. */
export type SlabRef = { group: GPUBindGroup };

/** One prepared dispatch: everything but the number of tokens is fixed at load. */
export type Dispatch = {
  kernel: Kernel;
  activations: GPUBindGroup;
  /** The slab, and the byte offset of the record in the weight table. */
  weights?: { slab: SlabRef; recordOffset: number };
  /** Rows of the matrix part that this dispatch multiplies by; 0 where there is none. */
  rows: number;
};

/** One for all: a call reads it at once, where an array would be made and taken apart for each. */
const offsets = new Uint32Array(1);

/** Encodes dispatches into a pass. Nothing is created here: the per-token path only sets and dispatches. */
export function encode(pass: GPUComputePassEncoder, dispatches: readonly Dispatch[], tokens: number): void {
  for (const dispatch of dispatches) {
    pass.setPipeline(dispatch.kernel.pipeline(tokens));
    pass.setBindGroup(0, dispatch.activations);
    if (dispatch.weights) {
      offsets[0] = dispatch.weights.recordOffset;
      pass.setBindGroup(1, dispatch.weights.slab.group, offsets, 0, 1);
    }
    const [x, y = 1, z = 1] = dispatch.kernel.grid(tokens, dispatch.rows);
    pass.dispatchWorkgroups(x, y, z);
  }
}

/** The same over `count` tiles from step.firstTile on. */
export function someTiles(dispatch: Dispatch, count: number): Dispatch {
  const { kernel } = dispatch;
  const grid: Kernel['grid'] = (tokens, rows) => [kernel.grid(tokens, rows)[0], count];
  return { ...dispatch, kernel: { ...kernel, grid } };
}
