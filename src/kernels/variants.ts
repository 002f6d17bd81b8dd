/** The one place where a kernel's variant is chosen by what the device can do. */
import codeBytesSource from '../../wgsl/shared/code_bytes.wgsl?raw';
import contextParts from '../../wgsl/shared/context_parts.wgsl?raw';
import emitF32 from '../../wgsl/shared/emit_f32.wgsl?raw';
import emitF32x32 from '../../wgsl/shared/emit_f32x32.wgsl?raw';
import emitInt from '../../wgsl/shared/emit_int.wgsl?raw';
import kvF16 from '../../wgsl/shared/kv_f16.wgsl?raw';
import kvF32 from '../../wgsl/shared/kv_f32.wgsl?raw';
import matrixAffine from '../../wgsl/shared/matrix_affine.wgsl?raw';
import matrixFloat from '../../wgsl/shared/matrix_float.wgsl?raw';
import normScale from '../../wgsl/shared/norm_scale.wgsl?raw';
import parameters from '../../wgsl/shared/parameters.wgsl?raw';
import q4Unit from '../../wgsl/shared/q4_unit.wgsl?raw';
import record from '../../wgsl/shared/record.wgsl?raw';
import reduceSingle from '../../wgsl/shared/reduce_single.wgsl?raw';
import reduceSubgroups from '../../wgsl/shared/reduce_subgroups.wgsl?raw';
import reduceWorkgroup from '../../wgsl/shared/reduce_workgroup.wgsl?raw';
import slab from '../../wgsl/shared/slab.wgsl?raw';
import slabExperts from '../../wgsl/shared/slab_experts.wgsl?raw';
import slabPool from '../../wgsl/shared/slab_pool.wgsl?raw';
import slabRecords from '../../wgsl/shared/slab_records.wgsl?raw';
import step from '../../wgsl/shared/step.wgsl?raw';
import subgroupRows from '../../wgsl/shared/subgroup_rows.wgsl?raw';
import teamSubgroup from '../../wgsl/shared/team_subgroup.wgsl?raw';
import teamSubgroups from '../../wgsl/shared/team_subgroups.wgsl?raw';
import teamWorkgroup from '../../wgsl/shared/team_workgroup.wgsl?raw';
import tileF16 from '../../wgsl/shared/tile_f16.wgsl?raw';
import tileF32 from '../../wgsl/shared/tile_f32.wgsl?raw';
import unitLayout from '../../wgsl/shared/unit_layout.wgsl?raw';
import weigh from '../../wgsl/shared/weigh.wgsl?raw';
import xF32x32 from '../../wgsl/shared/x_f32x32.wgsl?raw';
import xInt from '../../wgsl/shared/x_int.wgsl?raw';
import { EngineError } from '../errors';
import type { MatrixFormat } from '../format/types';
import type { Gpu } from '../gpu/device';

type Piece = { sources: string[]; enable: ('subgroups' | 'f16')[]; suffix: string; constants: Record<string, number> };

/** `parameters`: of kernels that read nothing else by their record. */
export const shared = {
  contextParts,
  parameters: `${record}\n${parameters}`,
  moreParameters: parameters,
  normScale,
  step,
  weigh,
};

/** Sums over the 64 lanes of a workgroup: through subgroups where the device has them, else through workgroup memory. */
export function wideReduction(gpu: Gpu): Piece {
  return gpu.subgroups
    ? { sources: [reduceSubgroups], enable: ['subgroups'], suffix: ' subgroups', constants: {} }
    : { sources: [reduceWorkgroup], enable: [], suffix: '', constants: {} };
}

/** For kernels that work with any number of lanes: on CPU adapters one, which has nothing to reduce; elsewhere wideReduction. */
export function reduction(gpu: Gpu): Piece {
  return gpu.direct ? { sources: [reduceSingle], enable: [], suffix: ' direct', constants: {} } : wideReduction(gpu);
}

/**
 * Sums over each run of `lanes` threads of a workgroup: without workgroup memory where none is beyond one subgroup, through subgroups
 * where whole ones fill it whatever size the device picks, else through workgroup memory, of which it takes `bytes`.
 */
export function teamReduction(
  gpu: Gpu,
  { lanes, teams, blocks }: { lanes: number; teams: number; blocks: number },
): Piece & { bytes: number } {
  const sizes = gpu.subgroups ? gpu.subgroupSizes : undefined;
  const enable: Piece['enable'] = ['subgroups'];
  if (sizes && sizes.min === sizes.max && lanes >= 4 && sizes.max % lanes === 0)
    return { sources: [subgroupRows, teamSubgroup], enable, suffix: ' subgroup', constants: {}, bytes: 0 };
  const partials = blocks * teams * lanes * 16;
  if (sizes && sizes.min >= 4 && lanes % sizes.max === 0) {
    const constants = { SMALLEST: sizes.min, LARGEST: sizes.max };
    return { sources: [subgroupRows, teamSubgroups], enable, suffix: ' subgroups', constants, bytes: partials / sizes.min };
  }
  return { sources: [teamWorkgroup], enable: [], suffix: '', constants: {}, bytes: partials };
}

/** Operand tiles of a GEMM: f16 only where the caller asked for it and the device has it. */
export function tile(gpu: Gpu, f16: boolean): Piece {
  return f16 && gpu.f16
    ? { sources: [tileF16], enable: ['f16'], suffix: ' f16', constants: {} }
    : { sources: [tileF32], enable: [], suffix: '', constants: {} };
}

/** Integers with a scale per 32 values, as one int8 each, two or three; of 'int12' two neighbours share their second one. */
export const intDtypes = ['int8', 'int12', 'int16', 'int24'] as const;
export type IntDtype = (typeof intDtypes)[number];
/** Units of 32 values, which lie so that lanes read them side by side: 'f32x32' as they are, with their sum. */
export type UnitDtype = 'f32x32' | IntDtype;
/** What a matrix product reads. 'f32': one value after another. */
export type ActivationDtype = 'f32' | UnitDtype;

export const isInt = (dtype: ActivationDtype): dtype is IntDtype => dtype !== 'f32' && dtype !== 'f32x32';

/** WGSL has int8 dot products everywhere, but Apple's GPUs and CPUs emulate them. */
export const multipliesInt8 = ({ adapter, int8Dot }: Pick<Gpu, 'adapter' | 'int8Dot'>): boolean =>
  int8Dot && !adapter.isCpu && ['nvidia', 'amd', 'intel'].includes(adapter.vendor.toLowerCase());

/**
 * What a decode step multiplies 4-bit weights by. 'int24' rounds a value to half a step of 1/8,323,072 of the largest of its unit, as f32
 * rounds that largest one, and three int8 dot products in hardware take less time than f32's multiplications.
 */
export function unitsFor(gpu: Pick<Gpu, 'adapter' | 'int8Dot'>, precision: 'exact' | 'fast'): UnitDtype {
  if (precision === 'fast' && gpu.int8Dot) return 'int16';
  return multipliesInt8(gpu) ? 'int24' : 'f32x32';
}

/** int8 that the codes of two neighbours are made of, and int8 dot products that eight of them take. */
export const codeBytes = (dtype: IntDtype): number => ({ int8: 2, int12: 3, int16: 4, int24: 6 })[dtype];
/** Of 16 bytes each, that a unit is. */
export const piecesOf = (dtype: UnitDtype): number => (isInt(dtype) ? codeBytes(dtype) + 1 : 9);
/** Bytes of `count` activations, eight whole units of 32 at a time: see shared/unit_layout.wgsl. */
export const unitBytes = (count: number, dtype: UnitDtype): number => Math.ceil(count / 256) * 8 * 16 * piecesOf(dtype);

/** How a kernel writes whole units of 32 activations, into what it declares as `units`. */
export function emission(y: ActivationDtype): Piece {
  if (y === 'f32') return { sources: [emitF32], enable: [], suffix: '', constants: {} };
  const { sources, constants } = unitPieces(y);
  return { sources: [...sources, isInt(y) ? emitInt : emitF32x32], enable: [], suffix: ` ${y}`, constants };
}

/** How a kernel of row_blocks reads them from what it declares as `x`, an array<vec4u>, and multiplies them by 4-bit weights. */
export function unitReader(x: UnitDtype): Piece {
  const { sources, constants } = unitPieces(x);
  return isInt(x)
    ? { sources: [...sources, xInt], enable: [], suffix: ` ${x}`, constants }
    : { sources: [...sources, q4Unit, xF32x32], enable: [], suffix: ` ${x}`, constants: { ...constants, FOLDED: 0 } };
}

/** Where the pieces of units lie. A kernel that reads and writes units has one dtype for both. */
export const unitPieces = (dtype: UnitDtype) => ({
  sources: isInt(dtype) ? [unitLayout, codeBytesSource] : [unitLayout],
  constants: { PIECES: piecesOf(dtype), ...(isInt(dtype) ? { CODE_BYTES: codeBytes(dtype) } : {}) },
});

export type KvDtype = 'f16' | 'f32';

export function kvCache(kv: KvDtype): Piece {
  return { sources: [kv === 'f16' ? kvF16 : kvF32], enable: [], suffix: ` kv-${kv}`, constants: {} };
}

/** 4-bit groups, for which most kernels have a form of their own. */
export type Affine4 = MatrixFormat & { kind: 'affine'; bits: 4 };
export const isAffine4 = (format: MatrixFormat): format is Affine4 => format.kind === 'affine' && format.bits === 4;

const records = { one: [record, slab], several: [slabRecords], experts: [slabExperts], pool: [slabPool] };
const storageCode = { bf16: 0, f16: 1, f32: 2 };

/**
 * The accessor `weight4(row, quad)` for a format. Every further format is one more accessor here.
 * `from` what: one matrix, several that the kernel chooses among by its workgroup, the experts of a layer, or those beside a matrix.
 */
export function matrix(format: MatrixFormat, { from = 'one' }: { from?: keyof typeof records } = {}): Piece {
  if (format.kind === 'float') {
    return {
      sources: [...records[from], matrixFloat],
      enable: [],
      suffix: ` ${format.dtype}`,
      constants: { FORMAT: storageCode[format.dtype] },
    };
  }
  const { bits, group, pair } = format;
  return {
    sources: [...records[from], matrixAffine],
    enable: [],
    suffix: ` q${bits}g${group}`,
    constants: { BITS: bits, GROUP: group, PAIR: storageCode[pair] },
  };
}

/** @throws EngineError 'shape' unless `unit` divides `value`. */
export function requireMultiple(label: string, name: string, value: number, unit: number): void {
  if (value % unit !== 0) throw new EngineError('shape', `${label}: ${name} is ${value}, which is not a multiple of ${unit}.`);
}

/** @throws EngineError 'shape' if `value` is larger than `most`. */
export function requireAtMost(label: string, name: string, value: number, most: number): void {
  if (value > most) throw new EngineError('shape', `${label}: ${name} is ${value}; this kernel handles ${most} at most.`);
}
