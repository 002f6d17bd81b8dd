import source from '../../wgsl/conv1d_silu.wgsl?raw';
import type { Gpu } from '../gpu/device';
import { createKernel, type Kernel } from '../gpu/kernel';
import { shared } from './variants';

/** Enough threads for a large GPU, and few inputs read twice. A step of no tokens moves no state. */
const blockTokens = 32;

/**
 * Causal depthwise convolution over time (kernel 4), then SiLU.
 * x [tokens, channels] f32, w [channels, 4] f32 -> y [tokens, channels] f32; state [slots, 3, channels] f32 moves from
 * step.sourceSlot to step.targetSlot.
 */
export function createConv1dSilu(gpu: Gpu, { channels }: { channels: number }): Kernel {
  return createKernel(gpu, {
    label: 'conv1d_silu',
    sources: [shared.parameters, shared.step, source],
    constants: { CHANNELS: channels, BLOCK: blockTokens },
    bindings: { x: 'read', y: 'write', state: 'write', step: 'uniform' },
    weights: 'parameters',
    grid: (tokens) => [Math.ceil(channels / 64), Math.ceil(tokens / blockTokens)],
  });
}
