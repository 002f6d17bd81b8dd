import type { ModelConfig } from '../format/types';
import type { DeltaShape } from '../kernels/delta';

export function deltaShape(config: ModelConfig): DeltaShape {
  return {
    keyHeads: config.linearNumKeyHeads,
    valueHeads: config.linearNumValueHeads,
    keyDim: config.linearKeyHeadDim,
    valueDim: config.linearValueHeadDim,
  };
}
