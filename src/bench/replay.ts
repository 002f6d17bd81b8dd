/** A trace's experts written over what the routers choose, on the GPU, where a model's own recordings run: for speed only. */
import replaySource from '../../wgsl/bench/replay_picks.wgsl?raw';
import type { ModelSession } from '../engine/model_session';
import type { Gpu } from '../gpu/device';
import type { Dispatch } from '../gpu/dispatch';
import { createKernel, type Kernel } from '../gpu/kernel';
import { shared } from '../kernels/variants';
import { expertTableStride, picksStride } from '../plan/shapes';
import type { Trace } from './trace';

/** trace [tokens, chosen], slots [experts] u32, step -> picks; `one`: of one token, with the count of absent experts behind. */
export function createReplayPicks(gpu: Gpu, { tokens, chosen, one }: { tokens: number; chosen: number; one: boolean }): Kernel {
  return createKernel(gpu, {
    label: 'bench replay_picks',
    sources: [shared.step, replaySource],
    constants: { CHOSEN: chosen, TOKENS: tokens, COUNT: Number(one) },
    bindings: { trace: 'read', slots: 'read', picks: 'write', step: 'uniform' },
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
  const dispatch = (mode: 'decode' | 'prefill', kernel: Kernel, layer: number): Dispatch => {
    const one = { buffer: scratch.layerPicks, offset: layer * picksStride, size: (chosen + 1) * 4 };
    const activations = kernel.bind({
      trace: { buffer, offset: layer * rowWords * 4, size: tokens * chosen * 4 },
      slots: { buffer: scratch.expertSlots, offset: layer * expertTableStride(experts), size: experts * 4 },
      picks: mode === 'decode' ? one : { buffer: scratch.picks },
      step: { buffer: scratch.step },
    });
    return { kernel, activations, rows: 0 };
  };
  for (const mode of ['decode', 'prefill'] as const) {
    const kernel = createReplayPicks(gpu, { tokens, chosen, one: mode === 'decode' });
    await kernel.ready;
    for (const { mixture, dispatches } of recordings[mode].body) {
      if (!mixture) continue;
      const own = dispatch(mode, kernel, mixture.layer);
      dispatches.splice(mixture.choose.length, 0, own);
      mixture.choose.push(own);
    }
  }
}
