import type { Gpu } from '../gpu/device';
import {
  createDeltaChunkPrepare,
  createDeltaChunkScan,
  createDeltaRuleDirect,
  createDeltaStep,
  createDeltaStepRaw,
  type DeltaShape,
  deltaChannels,
  deltaChunk,
} from '../kernels/delta';
import {
  deltaChunkPrepareReference,
  deltaGatesReference,
  deltaQkNormReference,
  deltaRuleReference,
} from '../kernels/reference/delta';
import { gatedRmsNormReference } from '../kernels/reference/gated_rms_norm';
import { unitBytes } from '../kernels/variants';
import { describe } from './delta_inputs';
import { compareDecoded, decodeUnits, missing } from './gemv_units';
import {
  type Bench,
  compare,
  expUlps,
  type KernelCase,
  largest,
  type Output,
  onBench,
  type Random,
  type Run,
  random,
  skip,
  ulp,
  uniform,
  worst,
} from './harness';

// ---- the rule and its chunked form ----------------------------------------------------------------------------------

/** -g lies between these. */
const decays = { none: [0, 0], some: [0, 0.5], strong: [20, 60] } as const;
type Decay = keyof typeof decays;
type RuleRow = {
  form: 'direct' | 'chunked';
  shape: DeltaShape;
  tokens: number;
  /** Tokens that qkv and gates hold, where the step takes fewer of them. */
  recorded?: number;
  decay?: Decay;
  source?: number;
  target?: number;
  why: string;
};

const slots = 3;
const r1: DeltaShape = { keyHeads: 2, valueHeads: 2, keyDim: 32, valueDim: 64 };
const r2: DeltaShape = { keyHeads: 1, valueHeads: 2, keyDim: 64, valueDim: 128 };
const r3: DeltaShape = { keyHeads: 2, valueHeads: 6, keyDim: 128, valueDim: 32 };
const r4: DeltaShape = { keyHeads: 1, valueHeads: 4, keyDim: 128, valueDim: 128 };

const ruleRows: RuleRow[] = [
  { form: 'direct', shape: r1, tokens: 1, source: 0, target: 2, why: 'one token from slot to slot' },
  { form: 'direct', shape: r1, tokens: 40, decay: 'none', why: 'nothing fades' },
  { form: 'direct', shape: r2, tokens: 5, source: 1, target: 2, why: 'two value heads a key head' },
  {
    form: 'direct',
    shape: r3,
    tokens: 17,
    decay: 'strong',
    source: 2,
    target: 0,
    why: 'three value heads a key head; all but the last token fades',
  },
  {
    form: 'direct',
    shape: r3,
    tokens: 5,
    recorded: 16,
    source: 0,
    target: 1,
    why: 'replay of the first five of sixteen recorded tokens',
  },
  { form: 'direct', shape: r4, tokens: 16, why: 'four value heads a key head' },

  { form: 'chunked', shape: r1, tokens: 1, why: 'a chunk of one token' },
  { form: 'chunked', shape: r1, tokens: 40, decay: 'none', source: 2, target: 0, why: 'two chunks and a half; nothing fades' },
  { form: 'chunked', shape: r2, tokens: 5, source: 1, target: 2, why: 'part of a chunk; two value heads a key head' },
  { form: 'chunked', shape: r3, tokens: 16, why: 'exactly a chunk; three value heads a key head' },
  {
    form: 'chunked',
    shape: r3,
    tokens: 17,
    decay: 'strong',
    source: 0,
    target: 1,
    why: 'a second chunk of one token; e^c underflows',
  },
  {
    form: 'chunked',
    shape: r3,
    tokens: 33,
    recorded: 40,
    source: 2,
    target: 1,
    why: 'replay of the first tokens of a longer step',
  },
  { form: 'chunked', shape: r4, tokens: 33, why: 'the shape of the large models: K fills its tile' },
];

/**
 * Units in the last place by which e^(c_i - c_j) may be off, because c is itself a sum: of 16 decays of at most 0.5 the i-th
 * sum rounds by i / 2, 64 in all. Strong decays round by more, but there e^(c_i - c_j) is under 1e-8 or exactly 1.
 */
const sumOfDecays = 64;

type Sequence = { qkv: Float32Array<ArrayBuffer>; gates: Float32Array<ArrayBuffer> };

/** Normalised q and k, values, log decays and write strengths of `tokens` tokens. */
function randomSequence(next: Random, shape: DeltaShape, tokens: number, decay: Decay): Sequence {
  const qkv = Float32Array.from(deltaQkNormReference(uniform(next, tokens * deltaChannels(shape)), shape));
  const [least, most] = decays[decay];
  const gates = Float32Array.from({ length: tokens * shape.valueHeads * 2 }, (_, i) =>
    i % 2 === 0 ? -(least + (most - least) * next()) : 0.05 + 0.9 * next(),
  );
  return { qkv, gates };
}

function chunkOutputs(bench: Bench, { valueHeads, keyDim, valueDim }: DeltaShape, tokens: number) {
  const padded = Math.ceil(tokens / deltaChunk) * deltaChunk;
  return {
    u: bench.output(padded * valueHeads * valueDim),
    w: bench.output(padded * valueHeads * keyDim),
    p: bench.output(padded * valueHeads * deltaChunk),
  };
}

function ruleRuns(gpu: Gpu, bench: Bench, row: RuleRow, sequence: Sequence, o: Output, state: Output): Run[] {
  const { form, shape, tokens, source = 0, target = 0 } = row;
  const inputs = { qkv: bench.input(sequence.qkv), gates: bench.input(sequence.gates) };
  const step = bench.step({ tokens, sourceSlot: source, targetSlot: target });
  if (form === 'direct') return [{ kernel: createDeltaRuleDirect(gpu, shape), bindings: { ...inputs, o, state, step }, tokens }];
  const chunks = chunkOutputs(bench, shape, tokens);
  return [
    { kernel: createDeltaChunkPrepare(gpu, shape), bindings: { ...inputs, ...chunks, step }, tokens },
    { kernel: createDeltaChunkScan(gpu, shape), bindings: { ...inputs, ...chunks, o, state, step }, tokens },
  ];
}

const stems = { direct: 'delta_rule_direct', chunked: 'delta_chunk_scan' };

const ruleCases: KernelCase[] = ruleRows.map((row) => ({
  kernel: stems[row.form],
  name: `${row.tokens} tokens, ${describe(row.shape)}, decay ${row.decay ?? 'some'}, slot ${row.source ?? 0} to ${row.target ?? 0}`,
  why: row.why,
  run: (gpu) =>
    onBench(gpu, async (bench) => {
      const { shape, tokens, recorded = tokens, decay = 'some', source = 0, target = 0 } = row;
      const { valueHeads, keyDim, valueDim } = shape;
      const next = random(12);
      const sequence = randomSequence(next, shape, recorded, decay);
      const slot = valueHeads * keyDim * valueDim;
      const before = uniform(next, slots * slot);
      const o = bench.output(tokens * valueHeads * valueDim);
      const state = bench.output(before);
      await bench.run(...ruleRuns(gpu, bench, row, sequence, o, state));
      const start = before.subarray(source * slot, (source + 1) * slot);
      const want = deltaRuleReference(sequence.qkv, sequence.gates, start, shape, tokens);
      // |k| = 1 and 0 < beta < 1, so a step shrinks old errors and adds its own: a sum of keyDim products (in the chunked
      // form two more of 16), the decay's exp (3 + 2 |g| times e^g is 3 at most), a few products. Errors are relative to the
      // longest column of S, once decayed, or v.
      const tolerance = tokens * (keyDim + 2 * deltaChunk + 12 + (row.form === 'chunked' ? sumOfDecays : 0)) * ulp;
      const size = Math.max(Math.exp(-decays[decay][0]) * longestColumn(start, shape), longestColumn(want.state, shape), 1);
      const after = await bench.read(state);
      const written = after.subarray(target * slot, (target + 1) * slot);
      const others = [0, 1, 2].filter((s) => s !== target);
      return worst(
        compare('o', await bench.read(o), want.o, tolerance, size / Math.sqrt(keyDim)),
        compare('state', written, want.state, tolerance, size),
        ...others.map((s) =>
          compare(`slot ${s}`, after.subarray(s * slot, (s + 1) * slot), before.subarray(s * slot, (s + 1) * slot), 0),
        ),
      );
    }),
}));

// ---- delta_step -------------------------------------------------------------------------------------------------------

type OneStepRow = { shape: DeltaShape; tokens: 0 | 1; decay: Decay; source: number; target: number; why: string };

const oneStepRows: OneStepRow[] = [
  {
    shape: { ...r1, valueDim: 32 },
    tokens: 1,
    decay: 'some',
    source: 0,
    target: 0,
    why: 'the narrowest; more parts than key rows',
  },
  { shape: r4, tokens: 1, decay: 'some', source: 1, target: 1, why: 'the shape of the large models, in place' },
  { shape: r4, tokens: 1, decay: 'strong', source: 2, target: 0, why: 'everything fades; from slot to slot' },
  { shape: { ...r2, valueDim: 256 }, tokens: 1, decay: 'none', source: 0, target: 1, why: 'wide values; nothing fades' },
  { shape: r4, tokens: 0, decay: 'some', source: 1, target: 1, why: 'a step of no tokens leaves the state as it is' },
];

const oneStepCases: KernelCase[] = oneStepRows.flatMap(({ shape, tokens, decay, source, target, why }) =>
  (['f32', 'f32x32', 'int16'] as const).map((dtype) => ({
    kernel: 'delta_step',
    name: `${tokens} tokens, ${describe(shape)}, decay ${decay}, slot ${source} to ${target}, to ${dtype}`,
    why,
    run: (gpu: Gpu) => {
      const lack = missing(gpu, dtype);
      if (lack) return Promise.resolve(skip(lack));
      return onBench(gpu, async (bench) => {
        const { valueHeads, keyDim, valueDim } = shape;
        const eps = Math.fround(1e-6);
        const next = random(15);
        const sequence = randomSequence(next, shape, 1, decay);
        const slot = valueHeads * keyDim * valueDim;
        const before = uniform(next, slots * slot);
        const z = uniform(next, valueHeads * valueDim, -4, 4);
        const w = uniform(next, valueDim, 0.5, 1.5);
        const state = bench.output(before);
        const y = bench.output(dtype === 'f32' ? z.length : unitBytes(z.length, dtype) / 4);
        const step = bench.step({ tokens, sourceSlot: source, targetSlot: target });
        const inputs = { qkv: bench.input(sequence.qkv), gates: bench.input(sequence.gates), z: bench.input(z) };
        await bench.run({
          kernel: createDeltaStep(gpu, { ...shape, eps, y: dtype }),
          bindings: { ...inputs, units: y, state, step },
          weights: bench.vectors(w),
        });
        const start = before.subarray(source * slot, (source + 1) * slot);
        const rule = deltaRuleReference(sequence.qkv, sequence.gates, start, shape, 1);
        const want = gatedRmsNormReference(rule.o, z, w, eps);
        const size = Math.max(Math.exp(-decays[decay][0]) * longestColumn(start, shape), longestColumn(rule.state, shape), 1);
        const tolerance = (keyDim + 12) * ulp; // of o and the state, as above
        const after = Float64Array.from(before);
        after.set(deltaRuleReference(sequence.qkv, sequence.gates, start, shape, tokens).state, target * slot);
        const left = compare('state', await bench.read(state), after, tokens === 0 ? 0 : tolerance, size);
        if (tokens === 0) return left; // nobody reads what comes out
        // The norm divides by the size of o, errors too.
        const norms = Array.from({ length: valueHeads }, (_, h) => {
          const o = rule.o.subarray(h * valueDim, (h + 1) * valueDim);
          return Math.sqrt(o.reduce((sum, value) => sum + value * value, 0) / valueDim);
        });
        const grown = Math.max(1, ...norms.map((norm) => size / Math.sqrt(keyDim) / norm));
        const noise = tolerance * grown * 8 + (valueDim / 2 + 12 + expUlps(4)) * ulp;
        const got = await bench.read(y);
        const most = largest(want);
        if (dtype === 'f32') return worst(left, compare('y', got, want, noise, most));
        // What the integers stand for is what the same kernel gives as f32, which has a case of its own.
        const exact = bench.output(z.length);
        await bench.run({
          kernel: createDeltaStep(gpu, { ...shape, eps, y: 'f32' }),
          bindings: { ...inputs, units: exact, state: bench.output(before), step },
          weights: bench.vectors(w),
        });
        return worst(
          left,
          compareDecoded(Float32Array.from(await bench.read(exact)), decodeUnits(got, z.length, dtype), dtype, 4 * ulp),
        );
      });
    },
  })),
);

const rawStepCases: KernelCase[] = [
  { shape: r4, why: 'the shape of the large models' },
  { shape: { ...r2, keyDim: 36, valueDim: 32 }, why: 'a key that sixteen threads do not share evenly' },
].map(({ shape, why }) => ({
  kernel: 'delta_step',
  name: `raw, ${describe(shape)}`,
  why: `${why}: what it gives of prepared heads and gates`,
  run: (gpu) =>
    onBench(gpu, async (bench) => {
      const { valueHeads, keyDim, valueDim } = shape;
      const eps = Math.fround(1e-6);
      const next = random(16);
      const raw = uniform(next, deltaChannels(shape));
      const [a, b] = [uniform(next, valueHeads, -3, 3), uniform(next, valueHeads, -3, 3)];
      const negExpA = uniform(next, valueHeads, -1, -0.1);
      const dtBias = uniform(next, valueHeads);
      const z = uniform(next, valueHeads * valueDim, -4, 4);
      const w = uniform(next, valueDim, 0.5, 1.5);
      const before = uniform(next, slots * valueHeads * keyDim * valueDim);
      const projected = new Float32Array(2 * valueHeads + 7);
      projected.set(a, 3);
      projected.set(b, valueHeads + 5);
      const [rawY, rawState, y, state] = [
        bench.output(z.length),
        bench.output(before),
        bench.output(z.length),
        bench.output(before),
      ];
      const own = { z: bench.input(z), step: bench.step({ tokens: 1, sourceSlot: 1, targetSlot: 2 }) };
      await bench.run({
        kernel: createDeltaStepRaw(gpu, { ...shape, eps, y: 'f32', aAt: 3, bAt: valueHeads + 5 }),
        bindings: { ...own, qkv: bench.input(raw), projected: bench.input(projected), units: rawY, state: rawState },
        weights: bench.vectors(w, negExpA, dtBias),
      });
      const qkv = bench.input(Float32Array.from(deltaQkNormReference(raw, shape)));
      const gates = bench.input(Float32Array.from(deltaGatesReference(a, b, negExpA, dtBias)));
      await bench.run({
        kernel: createDeltaStep(gpu, { ...shape, eps, y: 'f32' }),
        bindings: { ...own, qkv, gates, units: y, state },
        weights: bench.vectors(w),
      });
      const [want, wantState] = [await bench.read(y), await bench.read(state)];
      // Errors of norms, decay and gate are some roundings of what was computed from them.
      const tolerance = (keyDim + 64) * ulp;
      return worst(
        compare('state', await bench.read(rawState), wantState, tolerance, largest(wantState)),
        compare('y', await bench.read(rawY), want, 8 * tolerance, largest(want)),
      );
    }),
}));

/** The largest Euclidean length of a column of S [valueHeads, keyDim, valueDim]. */
function longestColumn(s: ArrayLike<number>, { valueHeads, keyDim, valueDim }: DeltaShape): number {
  let longest = 0;
  for (let head = 0; head < valueHeads; head++) {
    for (let j = 0; j < valueDim; j++) {
      let squares = 0;
      for (let i = 0; i < keyDim; i++) squares += s[(head * keyDim + i) * valueDim + j]! ** 2;
      longest = Math.max(longest, Math.sqrt(squares));
    }
  }
  return longest;
}

type PrepareRow = { shape: DeltaShape; tokens: number; decay: Decay; why: string };

const prepareRows: PrepareRow[] = [
  { shape: r1, tokens: 1, decay: 'some', why: 'a chunk of one token: T is the identity' },
  { shape: r3, tokens: 40, decay: 'none', why: 'two chunks and a half: rows past the end are zero' },
  { shape: r2, tokens: 16, decay: 'strong', why: 'e^(c_i - c_j) underflows' },
];

const prepareCases: KernelCase[] = prepareRows.map(({ shape, tokens, decay, why }) => ({
  kernel: 'delta_chunk_prepare',
  name: `${tokens} tokens, ${describe(shape)}, decay ${decay}`,
  why,
  run: (gpu) =>
    onBench(gpu, async (bench) => {
      const sequence = randomSequence(random(13), shape, tokens, decay);
      const chunks = chunkOutputs(bench, shape, tokens);
      await bench.run({
        kernel: createDeltaChunkPrepare(gpu, shape),
        bindings: { qkv: bench.input(sequence.qkv), gates: bench.input(sequence.gates), ...chunks, step: bench.step({ tokens }) },
        tokens,
      });
      const want = deltaChunkPrepareReference(sequence.qkv, sequence.gates, shape, tokens, deltaChunk);
      // T's rows are the recurrence's own products, so no larger than 1; each of at most 16 rows adds the error of its
      // k . k (a chain of keyDim / 4 sums, four more for the lanes), the decay, and 16 products.
      const tolerance = deltaChunk * (shape.keyDim / 4 + 4 + 3 + sumOfDecays + deltaChunk) * ulp;
      return worst(
        compare('p', await bench.read(chunks.p), want.p, tolerance, 1 / Math.sqrt(shape.keyDim)),
        compare('u', await bench.read(chunks.u), want.u, tolerance, Math.max(1, largest(want.u))),
        compare('w', await bench.read(chunks.w), want.w, tolerance, Math.max(2 ** -100, largest(want.w))),
      );
    }),
}));

export const deltaCases: KernelCase[] = [...prepareCases, ...ruleCases, ...oneStepCases, ...rawStepCases];
