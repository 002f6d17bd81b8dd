/** Plans as the engine reports them: 27B shapes in 4 GB, and a toy that fits whole. */
import type { PlanReport } from '../../src/api';

const GB = 1e9;

/** 64 layers of a mixer and an MLP, every fourth layer resident, and a head in ten slices. */
const units: PlanReport['units'] = [
  ...Array.from({ length: 64 }, (_, layer) => layer).flatMap((layer) =>
    ['mixer', 'mlp'].map((part) => ({
      label: `layers.${layer}.${part}`,
      bytes: part === 'mixer' ? 72e6 : 151e6,
      residency: layer % 6 === 0 ? ('resident' as const) : ('streamed' as const),
    })),
  ),
  ...Array.from({ length: 10 }, (_, slice) => ({ label: `head ${slice}`, bytes: 71.5e6, residency: 'streamed' as const })),
];
const sum = (residency: string) =>
  units.filter((unit) => unit.residency === residency).reduce((total, { bytes }) => total + bytes, 0);

export const large: PlanReport = {
  model: 'acme/Qwen3.5-27B-4bit',
  gpuBudgetBytes: 4 * GB,
  smallestBudgetBytes: 962_199_552,
  contextTokens: 8192,
  chunkTokens: 256,
  passTokens: 2048,
  gpu: {
    residentWeights: sum('resident') + 4e6,
    ring: 360e6,
    experts: 0,
    kvCache: 537e6,
    recurrentState: 155e6,
    scratch: 312e6,
    staging: 16_777_216,
    total: sum('resident') + 4e6 + 360e6 + 537e6 + 155e6 + 312e6 + 16_777_216,
  },
  ring: { slots: 12, slotBytes: 30e6 },
  experts: undefined,
  weightBytes: 15.1 * GB,
  streamedBytesPerToken: sum('streamed'),
  expectedExpertBytesPerToken: 0,
  units,
  disk: {
    home: 'opfs',
    why: undefined,
    neededBytes: 15.1 * GB,
    storedBytes: 3.2 * GB,
    availableBytes: 41.7 * GB,
    persisted: false,
  },
  prediction: { tokensPerSecond: 0.66, readMs: 1490, uploadMs: 1210, computeMs: 96, bound: 'read' },
};

export const small: PlanReport = {
  model: 'Story model',
  gpuBudgetBytes: 4 * GB,
  smallestBudgetBytes: 12_500_000,
  contextTokens: 2048,
  chunkTokens: 256,
  passTokens: 256,
  gpu: {
    residentWeights: 8_100_000,
    ring: 0,
    experts: 0,
    kvCache: 1_570_000,
    recurrentState: 442_000,
    scratch: 9_900_000,
    staging: 2_100_000,
    total: 22_112_000,
  },
  ring: { slots: 0, slotBytes: 0 },
  experts: undefined,
  weightBytes: 8_100_000,
  streamedBytesPerToken: 0,
  expectedExpertBytesPerToken: 0,
  units: Array.from({ length: 13 }, (_, i) => ({ label: `layers.${i}`, bytes: 600_000, residency: 'resident' })),
  disk: {
    home: 'opfs',
    why: undefined,
    neededBytes: 7_318_936,
    storedBytes: 7_318_936,
    availableBytes: undefined,
    persisted: undefined,
  },
  prediction: undefined,
};
