import type { Gpu } from '../gpu/device';
import type { BufferRange } from '../gpu/memory';
import {
  createDeltaChunkPrepare,
  createDeltaChunkScan,
  createDeltaRuleDirect,
  createDeltaStep,
  createDeltaStepUnits,
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
import { weighReference } from '../kernels/reference/rms_norm';
import { type UnitDtype, unitBytes } from '../kernels/variants';
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
  type Weights,
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

// ---- delta_step and delta_step_units ------------------------------------------------------------------------------------

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

const nameOf = ({ tokens, shape, decay, source, target }: OneStepRow) =>
  `${tokens} tokens, ${describe(shape)}, decay ${decay}, slot ${source} to ${target}`;

const eps = Math.fround(1e-6);

/** One token's inputs and state on the bench, and what comes of them: o and the state. */
function oneStep(bench: Bench, { shape, tokens, decay, source, target }: OneStepRow) {
  const { valueHeads, keyDim, valueDim } = shape;
  const next = random(15);
  const sequence = randomSequence(next, shape, 1, decay);
  const slot = valueHeads * keyDim * valueDim;
  const before = uniform(next, slots * slot);
  const z = uniform(next, valueHeads * valueDim, -4, 4);
  const w = uniform(next, valueDim, 0.5, 1.5);
  const state = bench.output(before);
  const start = before.subarray(source * slot, (source + 1) * slot);
  const rule = deltaRuleReference(sequence.qkv, sequence.gates, start, shape, 1);
  const size = Math.max(Math.exp(-decays[decay][0]) * longestColumn(start, shape), longestColumn(rule.state, shape), 1);
  const tolerance = (keyDim + 12) * ulp; // of o and the state, as above
  const after = Float64Array.from(before);
  after.set(deltaRuleReference(sequence.qkv, sequence.gates, start, shape, tokens).state, target * slot);
  return {
    ...{ z, w, before, o: rule.o, size, tolerance },
    bindings: {
      ...{ qkv: bench.input(sequence.qkv), gates: bench.input(sequence.gates), z: bench.input(z) },
      ...{ state, step: bench.step({ tokens, sourceSlot: source, targetSlot: target }) },
    },
    left: async () => compare('state', await bench.read(state), after, tokens === 0 ? 0 : tolerance, size),
  };
}

const wholeStepCases = oneStepRows.map(
  (row): KernelCase => ({
    kernel: 'delta_step',
    name: nameOf(row),
    why: row.why,
    run: (gpu) =>
      onBench(gpu, async (bench) => {
        const { shape, tokens } = row;
        const { valueHeads, keyDim, valueDim } = shape;
        const { z, w, o, size, tolerance, bindings, left } = oneStep(bench, row);
        const y = bench.output(z.length);
        const kernel = createDeltaStep(gpu, { ...shape, eps, heads: 'ready' });
        await bench.run({ kernel, bindings: { ...bindings, y }, weights: bench.vectors(w) });
        if (tokens === 0) return left(); // nobody reads what comes out
        // The norm divides by the size of o, errors too.
        const norms = Array.from({ length: valueHeads }, (_, h) => {
          const own = o.subarray(h * valueDim, (h + 1) * valueDim);
          return Math.sqrt(own.reduce((sum, value) => sum + value * value, 0) / valueDim);
        });
        const grown = Math.max(1, ...norms.map((norm) => size / Math.sqrt(keyDim) / norm));
        const noise = tolerance * grown * 8 + (valueDim / 2 + 12 + expUlps(4)) * ulp;
        const want = gatedRmsNormReference(o, z, w, eps);
        return worst(await left(), compare('y', await bench.read(y), want, noise, largest(want)));
      }),
  }),
);

const unitStepCases = oneStepRows.flatMap((row) =>
  (['f32x32', 'int16', 'int24'] as const).map(
    (dtype): KernelCase => ({
      kernel: 'delta_step_units',
      name: `${nameOf(row)}, to ${dtype}`,
      why: row.why,
      run: (gpu) => {
        const lack = missing(gpu, dtype);
        if (lack) return Promise.resolve(skip(lack));
        return onBench(gpu, async (bench) => {
          const { shape, tokens } = row;
          const { z, w, before, o, size, tolerance, bindings, left } = oneStep(bench, row);
          const outputs = (y: UnitDtype) => ({
            units: bench.output(unitBytes(z.length, y) / 4),
            squares: bench.output(z.length / 32),
          });
          const run = (y: UnitDtype, own: Record<string, BufferRange>) => {
            const kernel = createDeltaStepUnits(gpu, { ...shape, y, heads: 'ready' });
            return bench.run({ kernel, bindings: { ...bindings, ...own }, weights: bench.vectors(w) });
          };
          const out = outputs(dtype);
          await run(dtype, out);
          if (tokens === 0) return left(); // nobody reads what comes out
          // The product behind it ends the norm.
          const factors = Float64Array.from(z, (value, i) => (w[i % w.length]! * value) / (1 + Math.exp(-value)));
          const want = weighReference(o, factors);
          const noise = tolerance + (6 + expUlps(4)) * ulp;
          const scale = (size / Math.sqrt(shape.keyDim)) * largest(factors);
          const squaresSize = want.squares.map((sum) => sum + (32 * (size * size)) / shape.keyDim);
          const squares = compare('squares', await bench.read(out.squares), want.squares, 2 * noise + 32 * ulp, squaresSize);
          const got = decodeUnits(await bench.read(out.units), z.length, dtype);
          if (dtype === 'f32x32') return worst(await left(), squares, compare('units', got.values, want.weighed, noise, scale));
          // What the integers stand for is what the same kernel gives as f32, which has a case of its own.
          const exact = outputs('f32x32');
          await run('f32x32', { ...exact, state: bench.output(before) });
          const { values } = decodeUnits(await bench.read(exact.units), z.length, 'f32x32');
          return worst(await left(), squares, compareDecoded(Float32Array.from(values), got, dtype, 4 * ulp));
        });
      },
    }),
  ),
);

const rawStepCases = [
  { shape: r4, why: 'the shape of the large models' },
  { shape: { ...r2, keyDim: 36, valueDim: 32 }, why: 'a key that sixteen threads do not share evenly' },
].flatMap(({ shape, why }) =>
  (['delta_step', 'delta_step_units'] as const).map(
    (kernel): KernelCase => ({
      kernel,
      name: `raw, ${describe(shape)}`,
      why: `${why}: what it gives of prepared heads and gates`,
      run: (gpu) =>
        onBench(gpu, async (bench) => {
          const { valueHeads, keyDim, valueDim } = shape;
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
          const own = { z: bench.input(z), step: bench.step({ tokens: 1, sourceSlot: 1, targetSlot: 2 }) };
          /** y, as the kernel gives it, and the state. */
          const run = async (
            heads: Parameters<typeof createDeltaStep>[1]['heads'],
            inputs: Record<string, BufferRange>,
            weights: Weights,
          ) => {
            const state = bench.output(before);
            const bindings = { ...own, ...inputs, state };
            if (kernel === 'delta_step') {
              const y = bench.output(z.length);
              await bench.run({ kernel: createDeltaStep(gpu, { ...shape, eps, heads }), bindings: { ...bindings, y }, weights });
              return { y: await bench.read(y), state: await bench.read(state) };
            }
            const units = bench.output(unitBytes(z.length, 'f32x32') / 4);
            const step = createDeltaStepUnits(gpu, { ...shape, y: 'f32x32', heads });
            const squares = bench.output(z.length / 32);
            await bench.run({ kernel: step, bindings: { ...bindings, units, squares }, weights });
            return { y: decodeUnits(await bench.read(units), z.length, 'f32x32').values, state: await bench.read(state) };
          };
          const rawInputs = { qkv: bench.input(raw), projected: bench.input(projected) };
          const got = await run({ aAt: 3, bAt: valueHeads + 5 }, rawInputs, bench.vectors(w, negExpA, dtBias));
          const qkv = bench.input(Float32Array.from(deltaQkNormReference(raw, shape)));
          const gates = bench.input(Float32Array.from(deltaGatesReference(a, b, negExpA, dtBias)));
          const want = await run('ready', { qkv, gates }, bench.vectors(w));
          // Errors of norms, decay and gate are some roundings of what was computed from them.
          const tolerance = (keyDim + 64) * ulp;
          return worst(
            compare('state', got.state, want.state, tolerance, largest(want.state)),
            compare('y', got.y, want.y, 8 * tolerance, largest(want.y)),
          );
        }),
    }),
  ),
);

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

export const deltaCases: KernelCase[] = [...prepareCases, ...ruleCases, ...wholeStepCases, ...unitStepCases, ...rawStepCases];
