/** GatedDeltaNet (Yang et al., 2024): its norms and gates, the recurrence, and the chunked WY form of the recurrence. */
import prepareSource from '../../wgsl/delta_chunk_prepare.wgsl?raw';
import scanSource from '../../wgsl/delta_chunk_scan.wgsl?raw';
import gatesSource from '../../wgsl/delta_gates.wgsl?raw';
import stepSource from '../../wgsl/delta_prepare.wgsl?raw';
import normSource from '../../wgsl/delta_qk_norm.wgsl?raw';
import ruleDirectSource from '../../wgsl/delta_rule_direct.wgsl?raw';
import ruleStepSource from '../../wgsl/delta_step.wgsl?raw';
import ruleUnitsSource from '../../wgsl/delta_step_units.wgsl?raw';
import headsRaw from '../../wgsl/shared/heads_raw.wgsl?raw';
import headsReady from '../../wgsl/shared/heads_ready.wgsl?raw';
import softplus from '../../wgsl/shared/softplus.wgsl?raw';
import stateRows from '../../wgsl/shared/state_rows.wgsl?raw';
import type { Gpu } from '../gpu/device';
import { createKernel, type Kernel, type KernelSpec } from '../gpu/kernel';
import { emission, reduction, requireAtMost, requireMultiple, shared, type UnitDtype, wideReduction } from './variants';

/** valueHeads is a multiple of keyHeads; value head h uses key head floor(h / (valueHeads / keyHeads)). */
export type DeltaShape = { keyHeads: number; valueHeads: number; keyDim: number; valueDim: number };

/** Tokens per chunk of the WY form. */
export const deltaChunk = 16;

/** Width of the convolved q, k, v: 2 * keyHeads * keyDim + valueHeads * valueDim. */
export const deltaChannels = ({ keyHeads, valueHeads, keyDim, valueDim }: DeltaShape): number =>
  2 * keyHeads * keyDim + valueHeads * valueDim;

const constants = ({ keyHeads, valueHeads, keyDim, valueDim }: DeltaShape) => ({
  KEY_HEADS: keyHeads,
  VALUE_HEADS: valueHeads,
  KEY_DIM: keyDim,
  VALUE_DIM: valueDim,
});

function check(label: string, shape: DeltaShape): void {
  requireMultiple(label, 'keyDim', shape.keyDim, 4);
  requireAtMost(label, 'keyDim', shape.keyDim, 128);
  requireMultiple(label, 'valueDim', shape.valueDim, 16);
  requireMultiple(label, 'valueHeads', shape.valueHeads, shape.keyHeads);
}

/** L2 norm of q (times keyDim^-1/2) and k heads, in place. qkv [tokens, channels] f32. @throws EngineError 'shape' */
export function createDeltaQkNorm(gpu: Gpu, shape: DeltaShape): Kernel {
  const reduce = reduction(gpu);
  const label = `delta_qk_norm${reduce.suffix}`;
  check(label, shape);
  return createKernel(gpu, {
    label,
    sources: [...reduce.sources, normSource],
    enable: reduce.enable,
    constants: { KEY_HEADS: shape.keyHeads, KEY_DIM: shape.keyDim, CHANNELS: deltaChannels(shape) },
    bindings: { qkv: 'write' },
    grid: (tokens) => [2 * shape.keyHeads, tokens],
  });
}

/** a, b [tokens, valueHeads] f32 -> gates [tokens, valueHeads] (g, beta) f32: g = -exp(A_log) softplus(a + dt_bias), beta = sigmoid(b). */
export function createDeltaGates(gpu: Gpu, { valueHeads }: Pick<DeltaShape, 'valueHeads'>): Kernel {
  return createKernel(gpu, {
    label: 'delta_gates',
    sources: [shared.parameters, shared.step, softplus, gatesSource],
    constants: { HEADS: valueHeads },
    bindings: { a: 'read', b: 'read', gates: 'write', step: 'uniform' },
    weights: 'parameters',
    grid: (tokens) => [Math.ceil((tokens * valueHeads) / 64)],
  });
}

/**
 * Convolution, norms and gates of one token in one dispatch: x [channels], a, b [valueHeads] f32 -> qkv [channels], gates
 * [valueHeads] (g, beta) f32; state [slots, 3, channels] f32 moves from step.sourceSlot to step.targetSlot.
 * @throws EngineError 'shape' as createDeltaRuleDirect.
 */
export function createDeltaPrepare(gpu: Gpu, shape: DeltaShape): Kernel {
  const reduce = wideReduction(gpu);
  const label = `delta_prepare${reduce.suffix}`;
  check(label, shape);
  return createKernel(gpu, {
    label,
    sources: [shared.parameters, shared.step, ...reduce.sources, softplus, stepSource],
    enable: reduce.enable,
    constants: constants(shape),
    bindings: { x: 'read', a: 'read', b: 'read', qkv: 'write', gates: 'write', state: 'write', step: 'uniform' },
    weights: 'parameters',
    grid: () => [2 * shape.keyHeads + shape.valueHeads],
  });
}

/**
 * The recurrence for one token with the output norm behind it (createGatedRmsNorm): z [valueHeads, valueDim] f32 -> y [valueHeads, valueDim]
 * f32; state [slots, valueHeads, keyDim, valueDim] f32 moves from step.sourceSlot to step.targetSlot.
 * @throws EngineError 'shape' unless 4 divides keyDim <= 128 and valueDim is 32 times a power of two, 1024 at most.
 */
export function createDeltaStep(gpu: Gpu, { eps, ...shape }: DeltaShape & { eps: number } & Heads): Kernel {
  const heads = headsOf(shape.heads);
  const label = `delta_step${heads.suffix}`;
  check(label, shape);
  requireMultiple(label, 'valueDim', shape.valueDim, 32);
  requireMultiple(label, '1024', 1024, shape.valueDim);
  return createKernel(gpu, {
    label,
    sources: [shared.parameters, shared.step, ...heads.sources, stateRows, ruleStepSource],
    constants: { ...constants(shape), EPS: eps, ...heads.constants },
    bindings: { y: 'write', qkv: 'read', ...heads.bindings, z: 'read', state: 'write', step: 'uniform' },
    weights: 'parameters',
    grid: () => [shape.valueHeads],
  });
}

/**
 * The same but for the norm's scale: y comes in units of `y`, and the squares of what they are normed by, [valueHeads * valueDim / 32] f32. A
 * product with `heads` multiplies by the scale.
 * @throws EngineError 'shape' unless 4 divides keyDim <= 128 and 32 divides valueDim.
 */
export function createDeltaStepUnits(gpu: Gpu, { y, ...shape }: DeltaShape & { y: UnitDtype } & Heads): Kernel {
  const heads = headsOf(shape.heads);
  const emit = emission(y);
  const label = `delta_step_units${heads.suffix}${emit.suffix}`;
  check(label, shape);
  requireMultiple(label, 'valueDim', shape.valueDim, 32);
  return createKernel(gpu, {
    label,
    sources: [shared.parameters, shared.step, ...emit.sources, shared.weigh, ...heads.sources, stateRows, ruleUnitsSource],
    constants: { ...constants(shape), ...emit.constants, ...heads.constants },
    bindings: { units: 'write', qkv: 'read', ...heads.bindings, z: 'read', state: 'write', step: 'uniform', squares: 'write' },
    weights: 'parameters',
    grid: () => [(shape.valueHeads * shape.valueDim) / 32],
  });
}

/**
 * How a rule of one token gets its heads. 'ready': qkv [channels] and gates [valueHeads, 2] as createDeltaPrepare writes them; small parameters:
 * norm. Else what a product that convolves gives, query and key heads before their norms; a and b [valueHeads] lie in `projected` from `aAt` and
 * `bAt` on, counted in values; small parameters: norm, -exp(A_log), dt_bias.
 */
type Heads = { heads: 'ready' | { aAt: number; bAt: number } };

function headsOf(heads: Heads['heads']): Pick<KernelSpec, 'sources' | 'bindings'> & {
  suffix: string;
  constants: Record<string, number>;
} {
  if (heads === 'ready') return { suffix: '', sources: [headsReady], constants: {}, bindings: { gates: 'read' } };
  const constants = { A_AT: heads.aAt, B_AT: heads.bAt };
  return { suffix: ' raw', sources: [softplus, headsRaw], constants, bindings: { projected: 'read' } };
}

/**
 * The recurrence, token by token, without workgroup memory or barriers: for CPU adapters, where both are slow.
 * qkv [tokens, channels], gates [tokens, valueHeads, 2] f32 -> o [tokens, valueHeads, valueDim] f32; state as above.
 * @throws EngineError 'shape' unless 4 divides keyDim <= 128 and 16 divides valueDim.
 */
export function createDeltaRuleDirect(gpu: Gpu, shape: DeltaShape): Kernel {
  check('delta_rule_direct', shape);
  return createKernel(gpu, {
    label: 'delta_rule_direct',
    sources: [shared.step, ruleDirectSource],
    constants: constants(shape),
    bindings: { qkv: 'read', gates: 'read', o: 'write', state: 'write', step: 'uniform' },
    grid: () => [Math.ceil((shape.valueHeads * shape.valueDim) / 256)],
  });
}

/**
 * What of the chunked form does not depend on the state, for all chunks at once.
 * -> u [chunks * 16, valueHeads, valueDim], w [chunks * 16, valueHeads, keyDim], p [chunks, valueHeads, 16, 16] f32.
 * @throws EngineError 'shape' as createDeltaRuleDirect.
 */
export function createDeltaChunkPrepare(gpu: Gpu, shape: DeltaShape): Kernel {
  check('delta_chunk_prepare', shape);
  return createKernel(gpu, {
    label: 'delta_chunk_prepare',
    sources: [shared.step, prepareSource],
    constants: constants(shape),
    bindings: { qkv: 'read', gates: 'read', u: 'write', w: 'write', p: 'write', step: 'uniform' },
    grid: (tokens) => [shape.valueHeads, Math.ceil(tokens / deltaChunk)],
  });
}

/** The state through the chunks: with u, w, p of createDeltaChunkPrepare the same result as createDeltaRuleDirect. @throws EngineError 'shape' */
export function createDeltaChunkScan(gpu: Gpu, shape: DeltaShape): Kernel {
  check('delta_chunk_scan', shape);
  return createKernel(gpu, {
    label: 'delta_chunk_scan',
    sources: [shared.step, scanSource],
    constants: constants(shape),
    bindings: { qkv: 'read', gates: 'read', u: 'read', w: 'read', p: 'read', o: 'write', state: 'write', step: 'uniform' },
    grid: () => [shape.valueDim / 16, shape.valueHeads],
  });
}
