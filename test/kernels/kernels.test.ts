/** Runs the suite on Dawn for Node, holds WGSL and TypeScript to the same bindings, and proves that the suite can fail. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { q3, q4 } from '../../src/cases/formats';
import { compare, onBench, random, randomMatrix, requireStem, uniform } from '../../src/cases/harness';
import { kernelCases } from '../../src/cases/suite';
import type { Gpu } from '../../src/gpu/device';
import type { Kernel } from '../../src/gpu/kernel';
import { createAdvance } from '../../src/kernels/advance';
import {
  createAttention,
  createAttentionCombine,
  createAttentionCombineUnits,
  createAttentionDirect,
  createAttentionSplit,
  createAttentionTiled,
} from '../../src/kernels/attention';
import { createConv1dSilu } from '../../src/kernels/conv1d_silu';
import {
  createDeltaChunkPrepare,
  createDeltaChunkScan,
  createDeltaGates,
  createDeltaPrepare,
  createDeltaQkNorm,
  createDeltaRuleDirect,
  createDeltaStep,
  createDeltaStepUnits,
} from '../../src/kernels/delta';
import { createEmbed } from '../../src/kernels/embed';
import { createGatedRmsNorm } from '../../src/kernels/gated_rms_norm';
import { createGemm, createGemmDirect, createGemmQ4, createGemmQ4Outer, createGemmQ4Split } from '../../src/kernels/gemm';
import { createGemmQ4Few, createGemmQ4FewInt } from '../../src/kernels/gemm_few';
import {
  chooseGemvUnits,
  createGemv,
  createGemvDirect,
  createGemvQ4,
  createQuantise,
  gemvUnitCandidates,
} from '../../src/kernels/gemv';
import { createGateUpQ4Units, createGemvQ4Units, createGemvQ4Wide } from '../../src/kernels/gemv_teams';
import { createInterleavePairs } from '../../src/kernels/interleave_pairs';
import {
  createMoeCombine,
  createMoeDown,
  createMoeDownQ4,
  createMoeDownSumQ4,
  createMoeGateUp,
  createMoeGateUpQ4,
  createMoeProject,
  createMoeRoute,
  createMoeRouteOne,
} from '../../src/kernels/moe';
import {
  chooseMoeDownMany,
  chooseMoeGateUpMany,
  createMoeDownGrouped,
  createMoeGateUpGrouped,
  createMoeGroup,
} from '../../src/kernels/moe_grouped';
import { createDeltaProjectQ4, createNormGemvQ4 } from '../../src/kernels/norm_gemv';
import { createQkNormRope } from '../../src/kernels/qk_norm_rope';
import { createRmsNorm, createRmsNormUnits, createWeighUnits } from '../../src/kernels/rms_norm';
import {
  createSampleDraw,
  createSampleGreedy,
  createSampleHistogram,
  createSampleMaxima,
  createSampleMerge,
  createSampleSums,
  createSampleTopK,
} from '../../src/kernels/sample';
import { createSwiglu, createSwigluUnits } from '../../src/kernels/swiglu';
import { openNodeGpu } from '../../src/node/open_gpu';

const root = join(import.meta.dirname, '../..');

let gpu: Gpu;
beforeAll(async () => {
  gpu = await openNodeGpu();
}, 60_000);
afterAll(() => gpu?.device.destroy());

// Side by side, because a software adapter compiles a pipeline for seconds on one thread.
describe.concurrent('each kernel agrees with its reference', () => {
  for (const { kernel, name, why, run } of kernelCases) {
    test(`${kernel}: ${name}: ${why}`, { timeout: 240_000 }, async (context) => {
      const { error, tolerance, detail, skipped } = await run(gpu);
      if (skipped) return context.skip(skipped);
      expect(error, detail).toBeLessThanOrEqual(tolerance);
    });
  }
});

test('tiles of a GEMM give the same bits whatever their shape, so that slices of a matrix and of a prompt do', {
  timeout: 240_000,
}, async () => {
  const [rows, cols, tokens] = [70, 64, 37];
  const next = random(3);
  const matrix = randomMatrix(next, rows, cols, q4(32, 'bf16'));
  const x = uniform(next, tokens * cols);
  const shape = { cols, outCols: rows, format: q4(32, 'bf16'), accumulate: false, f16: false };
  await onBench(gpu, async (bench) => {
    const outputs = [];
    for (const kernel of [
      createGemmQ4(gpu, { ...shape, tile: { tx: 16, ty: 8, wide: false, ahead: false } }),
      createGemmQ4(gpu, { ...shape, tile: { tx: 8, ty: 4, wide: true, ahead: true } }),
      createGemmQ4Outer(gpu, { ...shape, tile: { tx: 8, ty: 8, wide: true, columns: 16, ahead: false } }),
    ]) {
      const y = bench.output(tokens * rows);
      const bindings = { x: bench.input(x), y, step: bench.step({ tokens }) };
      const [part] = bench.matrix(matrix);
      await bench.run({ kernel, bindings, tokens, ...part! });
      outputs.push(await bench.read(y));
    }
    expect(outputs[0]!.some((value) => value !== 0)).toBe(true);
    expect(outputs[1]).toEqual(outputs[0]);
    expect(outputs[2]).toEqual(outputs[0]);
  });
});

test('a prompt gives the same bits in chunks of any length', { timeout: 240_000 }, async () => {
  const shape = { heads: 6, kvHeads: 2, headDim: 36, kv: 'f32' as const };
  const [tokens, width] = [75, 6 * 36];
  const next = random(6);
  const [q, qGate] = [uniform(next, tokens * width, -9, 9), uniform(next, tokens * 2 * width)];
  const [keys, values] = [uniform(next, (tokens + 40) * 72), uniform(next, (tokens + 40) * 72)];
  const kernel = createAttentionTiled(gpu, { ...shape, tile: { rows: 32, wide: false, ahead: false } });
  await onBench(gpu, async (bench) => {
    const cache = { keys: bench.input(keys), values: bench.input(values) };
    const outputs: number[][] = [];
    for (const lengths of [[75], [1, 37, 32, 5]]) {
      const all: number[] = [];
      let first = 0;
      for (const count of lengths) {
        const y = bench.output(count * width);
        const own = {
          q: bench.input(q.slice(first * width, (first + count) * width)),
          qGate: bench.input(qGate.slice(2 * first * width, 2 * (first + count) * width)),
        };
        const step = bench.step({ tokens: count, position: 40 + first });
        await bench.run({ kernel, bindings: { ...own, ...cache, y, step }, tokens: count });
        all.push(...(await bench.read(y)));
        first += count;
      }
      outputs.push(all);
    }
    expect(outputs[0]!.some((value) => value !== 0)).toBe(true);
    expect(outputs[1]).toEqual(outputs[0]);
  });
});

test('parts of the context give the same bits however many there could be, so that a longer limit changes no reply', {
  timeout: 240_000,
}, async () => {
  const shape = { heads: 2, kvHeads: 1, headDim: 64, kv: 'f32' as const };
  const position = 149; // three blocks
  const next = random(5);
  const [q, qGate] = [uniform(next, 2 * 64), uniform(next, 4 * 64)];
  const [keys, values] = [uniform(next, (position + 1) * 64), uniform(next, (position + 1) * 64)];
  await onBench(gpu, async (bench) => {
    const inputs = { q: bench.input(q), keys: bench.input(keys), values: bench.input(values), step: bench.step({ position }) };
    const outputs = [];
    for (const parts of [3, 70]) {
      const { step, ...read } = inputs;
      const [sums, stats, y] = [bench.output(parts * 2 * 64), bench.output(parts * 2 * 2), bench.output(2 * 64)];
      await bench.run(
        { kernel: createAttentionSplit(gpu, { ...shape, parts }), bindings: { ...read, sums, stats, step } },
        {
          kernel: createAttentionCombine(gpu, { ...shape, parts }),
          bindings: { sums, stats, qGate: bench.input(qGate), y, step },
        },
      );
      outputs.push(await bench.read(y));
    }
    expect(outputs[0]!.some((value) => value !== 0)).toBe(true);
    expect(outputs[1]).toEqual(outputs[0]);
  });
});

/** Every file of wgsl/ with the binding that runs it and the reference it is held to. */
const delta = { keyHeads: 1, valueHeads: 2, keyDim: 32, valueDim: 64 };
const heads = { heads: 2, kvHeads: 1, headDim: 64, kv: 'f32' as const };
const linear = { cols: 64, outCols: 8, accumulate: false, f16: false };
const team = { rows: 4, lanes: 32, teams: 2, kib: 16, nibbles: 'convert' } as const;
const fewTeam = { lanes: 32, teams: 4, tokens: 8 } as const;
const sampled = { vocab: 100, ring: 4 };
const wide = { ...linear, format: q4(64, 'bf16') };
const expert = { rows: 8, cols: 64, format: q4(64, 'bf16'), chosen: 2, slotBytes: 1024 };
const groups = { experts: 8, places: 4, tiles: 8 };
const kernels: Record<string, { reference: string; create(gpu: Gpu): Kernel }> = {
  attention: { reference: 'attention', create: (gpu) => createAttention(gpu, heads) },
  attention_combine_units: {
    reference: 'attention',
    create: (gpu) => createAttentionCombineUnits(gpu, { heads: 2, headDim: 32, parts: 2, y: 'f32' }),
  },
  attention_combine: { reference: 'attention', create: (gpu) => createAttentionCombine(gpu, { ...heads, parts: 2 }) },
  attention_direct: { reference: 'attention', create: (gpu) => createAttentionDirect(gpu, heads) },
  attention_split: { reference: 'attention', create: (gpu) => createAttentionSplit(gpu, { ...heads, parts: 2 }) },
  attention_tiled: {
    reference: 'attention',
    create: (gpu) => createAttentionTiled(gpu, { ...heads, tile: { rows: 32, wide: false, ahead: false } }),
  },
  advance: { reference: 'advance', create: (gpu) => createAdvance(gpu) },
  conv1d_silu: { reference: 'conv1d_silu', create: (gpu) => createConv1dSilu(gpu, { channels: 4 }) },
  delta_chunk_prepare: { reference: 'delta', create: (gpu) => createDeltaChunkPrepare(gpu, delta) },
  delta_chunk_scan: { reference: 'delta', create: (gpu) => createDeltaChunkScan(gpu, delta) },
  delta_gates: { reference: 'delta', create: (gpu) => createDeltaGates(gpu, delta) },
  delta_qk_norm: { reference: 'delta', create: (gpu) => createDeltaQkNorm(gpu, delta) },
  delta_step: { reference: 'delta', create: (gpu) => createDeltaStep(gpu, { ...delta, eps: 1e-6, heads: 'ready' }) },
  delta_step_units: {
    reference: 'delta',
    create: (gpu) => createDeltaStepUnits(gpu, { ...delta, y: 'f32x32', heads: 'ready' }),
  },
  delta_rule_direct: { reference: 'delta', create: (gpu) => createDeltaRuleDirect(gpu, delta) },
  embed: { reference: 'embed', create: (gpu) => createEmbed(gpu, { cols: 64, format: q4(64, 'bf16') }) },
  gated_rms_norm: { reference: 'gated_rms_norm', create: (gpu) => createGatedRmsNorm(gpu, { heads: 1, dim: 4, eps: 1e-6 }) },
  gemm: { reference: 'gemv', create: (gpu) => createGemm(gpu, { ...linear, format: q4(64, 'bf16') }) },
  gemm_direct: { reference: 'gemv', create: (gpu) => createGemmDirect(gpu, { ...linear, format: q3(64, 'bf16') }) },
  gemm_q4: {
    reference: 'gemv',
    create: (gpu) => createGemmQ4(gpu, { ...linear, format: q4(64, 'bf16'), tile: { tx: 8, ty: 8, wide: true, ahead: false } }),
  },
  gemm_q4_direct: { reference: 'gemv', create: (gpu) => createGemmDirect(gpu, { ...linear, format: q4(64, 'bf16') }) },
  gemm_q4_few: { reference: 'gemv', create: (gpu) => createGemmQ4Few(gpu, { ...wide, team: fewTeam }) },
  gemm_q4_few_int: { reference: 'gemv', create: (gpu) => createGemmQ4FewInt(gpu, { ...wide, team: fewTeam, x: 'int16' }) },
  gemm_q4_outer: {
    reference: 'gemv',
    create: (gpu) => createGemmQ4Outer(gpu, { ...wide, tile: { tx: 16, ty: 8, wide: true, columns: 16, ahead: false } }),
  },
  gemm_q4_split: {
    reference: 'gemv',
    create: (gpu) => createGemmQ4Split(gpu, { ...wide, team: { lanes: 64, tokens: 8 } }),
  },
  gemv: { reference: 'gemv', create: (gpu) => createGemv(gpu, { ...linear, format: q3(64, 'bf16') }) },
  gemv_direct: { reference: 'gemv', create: (gpu) => createGemvDirect(gpu, { ...linear, format: q3(64, 'bf16') }) },
  gemv_q4: { reference: 'gemv', create: (gpu) => createGemvQ4(gpu, { ...linear, format: q4(64, 'bf16') }) },
  gemv_q4_units: {
    reference: 'gemv',
    create: (gpu) => createGemvQ4Units(gpu, { ...linear, format: q4(64, 'bf16'), team, x: 'int8' }),
  },
  gemv_q4_held: {
    reference: 'gemv',
    create: (gpu) => createGemvQ4Wide(gpu, { ...wide, team: { ...team, x: 'held', blocks: 1 } }),
  },
  gemv_q4_staged: { reference: 'gemv', create: (gpu) => createGemvQ4Wide(gpu, { ...wide, team: { ...team, x: 'staged' } }) },
  gemv_q4_direct: { reference: 'gemv', create: (gpu) => createGemvDirect(gpu, { ...linear, format: q4(64, 'bf16') }) },
  norm_gemv_q4: { reference: 'gemv', create: (gpu) => createNormGemvQ4(gpu, { cols: 64, eps: 1e-6, format: q4(64, 'bf16') }) },
  delta_project_q4: {
    reference: 'conv1d_silu',
    create: (gpu) => createDeltaProjectQ4(gpu, { cols: 64, eps: 1e-6, format: q4(64, 'bf16'), channels: 16 }),
  },
  interleave_pairs: { reference: 'interleave_pairs', create: (gpu) => createInterleavePairs(gpu) },
  moe_route: { reference: 'moe', create: (gpu) => createMoeRoute(gpu, { experts: 8, chosen: 2, renormalised: true }) },
  moe_route_one: {
    reference: 'moe',
    create: (gpu) => createMoeRouteOne(gpu, { experts: 8, chosen: 2, renormalised: true, cols: 4 }),
  },
  moe_group: { reference: 'moe', create: (gpu) => createMoeGroup(gpu, { ...groups, chosen: 2 }) },
  moe_gate_up_grouped: { reference: 'moe', create: (gpu) => createMoeGateUpGrouped(gpu, expert, groups) },
  moe_down_grouped: { reference: 'moe', create: (gpu) => createMoeDownGrouped(gpu, expert, groups) },
  moe_gate_up: { reference: 'moe', create: (gpu) => createMoeGateUp(gpu, expert) },
  moe_down: { reference: 'moe', create: (gpu) => createMoeDown(gpu, expert) },
  moe_gate_up_q4: { reference: 'moe', create: (gpu) => createMoeGateUpQ4(gpu, expert) },
  moe_down_q4: { reference: 'moe', create: (gpu) => createMoeDownQ4(gpu, expert) },
  moe_project: {
    reference: 'moe',
    create: (gpu) => createMoeProject(gpu, { cols: 64, eps: 1e-6, format: expert.format, bytes: expert.format }),
  },
  moe_down_sum_q4: {
    reference: 'moe',
    create: (gpu) => createMoeDownSumQ4(gpu, expert, { gate: 0, up: 16, sharedGate: 32 }),
  },
  moe_combine: { reference: 'moe', create: (gpu) => createMoeCombine(gpu, { cols: 4, chosen: 2 }) },
  qk_norm_rope: { reference: 'qk_norm_rope', create: (gpu) => createQkNormRope(gpu, { ...heads, rotary: 16, eps: 1e-6 }) },
  quantise: { reference: 'quantise', create: (gpu) => createQuantise(gpu, { cols: 64, y: 'int8' }) },
  delta_prepare: { reference: 'delta', create: (gpu) => createDeltaPrepare(gpu, delta) },
  rms_norm_units: { reference: 'rms_norm', create: (gpu) => createRmsNormUnits(gpu, { cols: 32, eps: 1e-6, y: 'f32' }) },
  weigh_units: { reference: 'rms_norm', create: (gpu) => createWeighUnits(gpu, { cols: 32, units: 'f32' }) },
  gate_up_q4_units: {
    reference: 'swiglu',
    create: (gpu) =>
      createGateUpQ4Units(gpu, {
        cols: 64,
        format: expert.format,
        eps: 1e-6,
        team: { rows: 4, lanes: 32, teams: 8 },
        x: 'int16',
        units: 'f32',
      }),
  },
  swiglu_units: { reference: 'swiglu', create: (gpu) => createSwigluUnits(gpu, { cols: 32, y: 'f32' }) },
  rms_norm: { reference: 'rms_norm', create: (gpu) => createRmsNorm(gpu, { cols: 4, eps: 1e-6 }) },
  sample_draw: { reference: 'sample', create: (gpu) => createSampleDraw(gpu, sampled) },
  sample_greedy: { reference: 'sample', create: (gpu) => createSampleGreedy(gpu, sampled) },
  sample_histogram: { reference: 'sample', create: (gpu) => createSampleHistogram(gpu, sampled) },
  sample_maxima: { reference: 'sample', create: (gpu) => createSampleMaxima(gpu, sampled) },
  sample_merge: { reference: 'sample', create: (gpu) => createSampleMerge(gpu, sampled) },
  sample_sums: { reference: 'sample', create: (gpu) => createSampleSums(gpu, sampled) },
  sample_top_k: { reference: 'sample', create: (gpu) => createSampleTopK(gpu, sampled) },
  swiglu: { reference: 'swiglu', create: (gpu) => createSwiglu(gpu, { cols: 4 }) },
};
const stems = readdirSync(join(root, 'wgsl'))
  .filter((file) => file.endsWith('.wgsl'))
  .map((file) => file.slice(0, -'.wgsl'.length));
const references = readdirSync(join(root, 'src/kernels/reference')).map((file) => file.slice(0, -'.ts'.length));

/** A device that compiles nothing: a binding's list of names needs no pipeline. */
function inertGpu(): Gpu {
  const never = new Promise<never>(() => {});
  const device = {
    createBindGroupLayout: () => ({}),
    createShaderModule: () => ({}),
    createPipelineLayout: () => ({}),
    createComputePipelineAsync: () => never,
  };
  return { device, subgroups: false, f16: false, direct: false, pipelines: new Map(), layouts: new Map() } as unknown as Gpu;
}

type Declared = { binding: number; space: string; name: string };

/** The `var<...>`s of group 0, in @binding order. */
function declared(stem: string): Declared[] {
  const own = readFileSync(join(root, 'wgsl', `${stem}.wgsl`), 'utf8');
  // What several kernels bind alike, a file declares that comes before theirs.
  const before = {
    expert_groups: /\bgroupOf\(/,
    picks_given: /\bpickOf\(/,
    part_sums: /\bcombined\(/,
    x_normed: /\b(stageNormed|normedSum)\(/,
    heads_ready: /\bloadKey\(/,
  };
  const used = Object.entries(before).filter(([, calls]) => calls.test(own));
  const source = used.map(([name]) => readFileSync(join(root, `wgsl/shared/${name}.wgsl`), 'utf8')).join('') + own;
  const found = [...source.matchAll(/@group\(0\)\s*@binding\((\d+)\)\s*var<([^>]+)>\s*(\w+)/g)];
  return found
    .map(([, binding, space, name]) => ({ binding: Number(binding), space: space!, name: name! }))
    .sort((a, b) => a.binding - b.binding);
}

describe('one kernel: one file, one binding, one reference, one table', () => {
  test('every file of wgsl/ is in the table, and nothing else', () => {
    expect(stems.sort()).toEqual(Object.keys(kernels).sort());
  });

  test.each(stems)('%s has a reference and a case', (stem) => {
    expect(references).toContain(kernels[stem]!.reference);
    expect(kernelCases.filter(({ kernel }) => kernel === stem).length).toBeGreaterThan(0);
  });

  test.each(stems)('%s: the typed binding lists the names of the WGSL, in order', (stem) => {
    const kernel = kernels[stem]!.create(inertGpu());
    const names = declared(stem);
    expect(names.map(({ binding }) => binding)).toEqual(names.map((_, i) => i));
    expect(kernel.bindings).toEqual(names.map(({ name }) => name));
    requireStem(kernel, stem);
  });

  test.each(stems)('%s binds at most the eight storage buffers that every device has', (stem) => {
    const own = declared(stem).filter(({ space }) => space.startsWith('storage')).length;
    const source = readFileSync(join(root, 'wgsl', `${stem}.wgsl`), 'utf8');
    const slab = /parameter4\(|weight4\(|record\./.test(source) ? 1 : 0;
    expect(own + slab).toBeLessThanOrEqual(8);
  });
});

test('a prompt takes the choices of an expert together, in tiles that read its weights once', () => {
  const many = (direct: boolean, experts: number, chosen: number) => {
    const gpu = { ...inertGpu(), direct };
    const shape = { ...expert, rows: 512, chosen };
    const at = { experts, places: 512 * chosen, tiles: 1024 * chosen };
    return [chooseMoeGateUpMany(gpu, shape, at), chooseMoeDownMany(gpu, shape, at)];
  };
  for (const [experts, chosen] of [
    [256, 8],
    [512, 10],
    [16, 4],
    [8, 3],
  ] as const) {
    for (const direct of [false, true]) {
      for (const kernel of many(direct, experts, chosen)) {
        expect(kernel.chosen!(512).label).toMatch(/^moe_(gate_up|down)_grouped /);
        const [, tiles] = kernel.grid(512, 0);
        const tile = direct ? 4 : 32;
        expect(tiles).toBeLessThanOrEqual((512 * chosen) / tile + experts); // one of each expert need not be full
        expect(kernel.chosen!(2).label.includes('grouped')).toBe(direct); // a GPU runs few choices each by itself
      }
    }
  }
});

test.each([
  { own: { write: { kind: 'normed', eps: 1e-6 } }, binding: 'squares' },
  { own: { write: { kind: 'convolved', eps: 1e-6, channels: 96 } }, binding: 'state' },
  { own: { heads: { units: 4, eps: 1e-6 } }, binding: 'headSquares' },
] as const)('what a measurement may put in the place of a product that ends a norm binds what that binds: $binding', (row) => {
  const gpu = { ...inertGpu(), int8Dot: true, adapter: { limits: {} } } as Gpu;
  const shape = {
    cols: 2048,
    outCols: 2048,
    format: expert.format,
    accumulate: false,
    ...row.own,
  };
  const usual = chooseGemvUnits(gpu, { ...shape, x: 'int16' });
  const candidates = gemvUnitCandidates(gpu, { ...shape, tokens: 1 }).map(({ create }) => create(gpu));
  expect(usual.bindings).toContain(row.binding);
  expect(candidates.length).toBeGreaterThan(3);
  for (const kernel of candidates) expect(kernel.bindings).toEqual(usual.bindings);
});

describe('a planted fault', () => {
  /** A reference module whose every result has its largest value off by 1 %. */
  const faulty = (module: Record<string, unknown>) =>
    Object.fromEntries(
      Object.entries(module).map(([name, value]) => [
        name,
        typeof value === 'function' ? (...args: unknown[]) => spoil((value as (...args: unknown[]) => unknown)(...args)) : value,
      ]),
    );
  const spoil = (result: unknown): unknown => {
    if (result instanceof Float64Array) {
      let at = 0;
      for (let i = 0; i < result.length; i++) if (Math.abs(result[i]!) > Math.abs(result[at]!)) at = i;
      return result.map((value, i) => (i === at ? value * 1.01 : value));
    }
    return Object.fromEntries(Object.entries(result as object).map(([name, value]) => [name, spoil(value)]));
  };

  test('in any reference fails every case that uses it', { timeout: 480_000 }, async () => {
    vi.resetModules();
    for (const name of new Set(Object.values(kernels).map(({ reference }) => reference))) {
      const path = `../../src/kernels/reference/${name}`;
      vi.doMock(path, async () => faulty(await vi.importActual<Record<string, unknown>>(path)));
    }
    const { kernelCases: spoiled } = await import('../../src/cases/suite');
    const passed: string[] = [];
    const left = [...spoiled];
    const lane = async () => {
      for (let next = left.shift(); next; next = left.shift()) {
        const { error, tolerance, skipped } = await next.run(gpu);
        if (!skipped && error <= tolerance) passed.push(`${next.kernel}: ${next.name}`);
      }
    };
    await Promise.all(Array.from({ length: 8 }, lane));
    expect(passed).toEqual([]);
    expect(spoiled.length).toBe(kernelCases.length);
  });

  test('in a kernel that writes past the end of its output is noticed', async () => {
    await onBench(gpu, async (bench) => {
      const y = bench.output(4);
      const x = bench.input(new Float32Array(8).fill(1));
      const step = bench.step({ tokens: 2 });
      await bench.run({ kernel: createSwiglu(gpu, { cols: 4 }), bindings: { gate: x, up: x, y, step }, tokens: 2 });
      await expect(bench.read(y)).rejects.toThrow('past the end of 4');
    });
  });

  test('is reported with the first bad index and its neighbours', () => {
    const got = [1, 2, 3.5, 4, Number.NaN];
    expect(compare('y', got, [1, 2, 3, 4, 5], 0.1)).toEqual({
      error: Number.POSITIVE_INFINITY,
      tolerance: 0.1,
      detail: 'y: [0] got 1 want 1, [1] got 2 want 2, [2] got 3.5 want 3 <- first bad, [3] got 4 want 4, [4] got NaN want 5',
    });
    expect(compare('y', [1], [1, 2], 0.1).error).toBe(Number.POSITIVE_INFINITY);
    expect(compare('y', [0, 1], [0, 1], 0)).toEqual({ error: 0, tolerance: 0, detail: 'y: 2 values' });
  });
});
