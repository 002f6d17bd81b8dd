/** A trace's experts written over what the routers say, on the GPU, where a model's own recordings run: for speed only. */
import replaySource from '../../wgsl/bench/replay_logits.wgsl?raw';
import type { ModelSession } from '../engine/model_session';
import type { Gpu } from '../gpu/device';
import { createKernel, type Kernel } from '../gpu/kernel';
import { shared } from '../kernels/variants';
import type { Trace } from './trace';

/** trace [tokens, chosen], step -> logits [.., experts] f32, those of the trace's experts alone. */
export function createReplayLogits(gpu: Gpu, shape: { tokens: number; chosen: number; experts: number }): Kernel {
  return createKernel(gpu, {
    label: 'bench replay_logits',
    sources: [shared.step, replaySource],
    constants: { CHOSEN: shape.chosen, TOKENS: shape.tokens, EXPERTS: shape.experts },
    bindings: { trace: 'read', logits: 'write', step: 'uniform' },
    grid: (count) => [count],
  });
}

/**
 * From now on the session's tokens run through the experts that `trace` has for their positions. The trace lies in memory of `gpu`, which
 * no budget of the session counts.
 */
export async function replay(gpu: Gpu, session: ModelSession, trace: Trace): Promise<void> {
  const { layers, tokens, chosen, experts } = trace;
  const rowWords = Math.ceil((tokens * chosen) / 64) * 64; // bindings begin on 256 bytes
  const buffer = gpu.memory.create('trace', layers * rowWords * 4, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST);
  for (let layer = 0; layer < layers; layer++) {
    const picks = trace.picks.subarray(layer * tokens * chosen, (layer + 1) * tokens * chosen);
    gpu.device.queue.writeBuffer(buffer, layer * rowWords * 4, picks);
  }
  const { scratch, recordings } = session;
  const kernel = createReplayLogits(gpu, { tokens, chosen, experts });
  await kernel.ready;
  for (const { mixture, dispatches } of [...recordings.decode.body, ...recordings.prefill.body]) {
    if (!mixture) continue;
    const { layer, logits, projected, choose } = mixture;
    const own = { buffer, offset: layer * rowWords * 4, size: tokens * chosen * 4 };
    const activations = kernel.bind({ trace: own, logits, step: { buffer: scratch.step } });
    for (const list of [dispatches, choose]) list.splice(projected, 0, { kernel, activations, rows: 0 });
  }
}
