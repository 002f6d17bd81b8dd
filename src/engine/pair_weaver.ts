/** Interleaves scales and biases on the GPU, for weights that stream from a checkpoint which is not repacked. */
import { EngineError } from '../errors';
import type { Gpu } from '../gpu/device';
import { type Dispatch, encode } from '../gpu/dispatch';
import { createInterleavePairs, interleavePairsBytes, packInterleavePairs, pairWords } from '../kernels/interleave_pairs';
import type { PairWeaver } from '../stream/window_upload';

/** `targets`: every buffer that pairs go to. Nothing is made per use. @throws EngineError 'budget'. */
export function createPairWeaver(gpu: Gpu, scratchBytes: number, targets: readonly GPUBuffer[]): PairWeaver {
  const { STORAGE, UNIFORM, COPY_DST } = GPUBufferUsage;
  const scratch = gpu.memory.create('raw pairs', scratchBytes, STORAGE | COPY_DST);
  const uniform = gpu.memory.create('interleave_pairs parameters', interleavePairsBytes, UNIFORM | COPY_DST);
  const kernel = createInterleavePairs(gpu);
  const bind = (slab: GPUBuffer): Dispatch => {
    const activations = kernel.bind({ raw: { buffer: scratch }, slab: { buffer: slab }, params: { buffer: uniform } });
    return { kernel, activations, rows: 0 };
  };
  const dispatches = new Map(targets.map((target) => [target, [bind(target)]]));
  const params = new Uint32Array(interleavePairsBytes / 4);
  return {
    scratch,
    ready: kernel.ready,
    record(encoder, target, byteOffset, { scales, bytes }) {
      const dispatch = dispatches.get(target);
      if (!dispatch) throw new EngineError('internal', `${target.label} was not named as a target of pairs.`);
      const count = scales.byteLength / bytes;
      packInterleavePairs({ count, byteOffset, bytes }, params);
      // One uniform for all: queued now, and read by what the caller submits next, it is not written again before that has run.
      gpu.device.queue.writeBuffer(uniform, 0, params);
      const pass = encoder.beginComputePass();
      encode(pass, dispatch, pairWords({ count, bytes }));
      pass.end();
    },
  };
}
