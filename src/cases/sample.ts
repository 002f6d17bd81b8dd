import type { Kernel } from '../gpu/kernel';
import type { BufferRange } from '../gpu/memory';
import {
  binsReference,
  blockLargestReference,
  blockSumsReference,
  drawnReference,
  penalisedReference,
  probabilitiesReference,
  weightsReference,
} from '../kernels/reference/sample';
import {
  createSampleDraw,
  createSampleGreedy,
  createSampleHistogram,
  createSampleMaxima,
  createSampleMerge,
  createSampleSums,
  createSampleTopK,
  packDraws,
  packSampleParams,
  planSample,
  type SampleParams,
} from '../kernels/sample';
import { samplerBytes } from '../plan/shapes';
import { type Bench, compare, expUlps, type KernelCase, type Output, onBench, random, ulp, worst } from './harness';

const vocab = 700; // three blocks, of which the last is not full
const block = 256;
const ring = 16;
const shape = { vocab, ring };
const sizes = samplerBytes(shape);
const words = (bytes: number) => bytes / 4;

const none: SampleParams = {
  temperature: 0.8,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
};
const penalties = { repetitionPenalty: 1.25, presencePenalty: 0.5, frequencyPenalty: 0.25 };

/** Logits with many ties, a history, padding rows that would win, and every buffer that a kernel may bind. */
function open(bench: Bench, params: SampleParams, draws = new Float32Array(ring)) {
  const next = random(17);
  const logits = Float32Array.from({ length: vocab }, () => Math.round(64 * (6 * next() + next() - 3)) / 64);
  const history = Uint32Array.from({ length: vocab }, () => (next() < 0.7 ? 0 : next() < 0.5 ? 2 ** 31 : Math.floor(3 * next())));
  const row = new Float32Array(vocab + 4).fill(1e30);
  row.set(logits);
  const outputs = {
    blocks: bench.output(words(sizes.blocks)),
    lists: bench.output(words(sizes.lists)),
    histogram: bench.output(words(sizes.histogram)),
    cuts: bench.output(words(sizes.cuts)),
    ids: bench.output(1),
    emitted: bench.output(ring),
    state: bench.output(new Float32Array(4)),
  };
  const inputs: Record<string, BufferRange> = {
    ...outputs,
    logits: bench.input(row),
    history: bench.input(history.slice()),
    draws: bench.input(draws),
    params: bench.input(packSampleParams(params, shape)),
  };
  const run = (kernel: Kernel, turn = 0) => {
    const all = { ...inputs, turn: bench.input(Uint32Array.of(turn, 0, 0, 0)) } as Record<string, BufferRange>;
    return { kernel, bindings: Object.fromEntries(kernel.bindings.map((name) => [name, all[name]!])) };
  };
  const asWords = async (output: Output) => new Uint32Array((await bench.read(output)).slice().buffer);
  return { outputs, run, asWords, penalised: () => penalisedReference({ logits, history }, params) };
}

const floatOfKey = (key: number): number => new Float32Array(Uint32Array.of(key >= 2 ** 31 ? key - 2 ** 31 : ~key).buffer)[0]!;
const topByte = (value: number): number => {
  const bits = new Uint32Array(Float32Array.of(value === 0 ? 0 : value).buffer)[0]!;
  return (bits >= 2 ** 31 ? ~bits >>> 0 : bits + 2 ** 31) >>> 24;
};

const rows: KernelCase[] = [
  {
    kernel: 'sample_maxima',
    name: `${vocab} logits, penalties`,
    why: 'the largest of each block, padding left out',
    run: (gpu) =>
      onBench(gpu, async (bench) => {
        const { outputs, run, asWords, penalised } = open(bench, { ...none, ...penalties });
        await bench.run(run(createSampleMaxima(gpu, shape)));
        const got = await asWords(outputs.blocks);
        const pairs = [0, 1, 2].flatMap((b) => [floatOfKey(got[6 * b]!), got[6 * b + 1]!]);
        const want = blockLargestReference(penalised(), block, 1);
        return worst(
          compare('maxima', pairs, want, 2 * ulp),
          compare('histogram', await asWords(outputs.histogram), new Uint32Array(words(sizes.histogram)), 0),
        );
      }),
  },
  ...[1, 20, 128].map(
    (topK): KernelCase => ({
      kernel: 'sample_top_k',
      name: `${topK} of ${vocab} logits`,
      why:
        topK === 1 ? 'the smallest list' : topK === 20 ? 'ties at the edge' : 'the longest list, where the last block has fewer',
      run: (gpu) =>
        onBench(gpu, async (bench) => {
          const { outputs, run, asWords, penalised } = open(bench, { ...none, topK });
          await bench.run(run(createSampleTopK(gpu, shape)));
          const got = await asWords(outputs.lists);
          const pairs = [0, 1, 2].flatMap((b) =>
            Array.from({ length: topK }, (_, i) => [got[256 * b + 2 * i]!, got[256 * b + 2 * i + 1]!]).flatMap(([key, id]) =>
              id === 2 ** 32 - 1 ? [] : [floatOfKey(key!), id!],
            ),
          );
          return compare('lists', pairs, blockLargestReference(penalised(), block, topK), 0);
        }),
    }),
  ),
  {
    kernel: 'sample_histogram',
    name: 'the first passes over counts and over weights',
    why: 'what every key of a byte amounts to',
    run: (gpu) =>
      onBench(gpu, async (bench) => {
        const params = { ...none, topP: 0.9 };
        const { outputs, run, asWords, penalised } = open(bench, params);
        const histogram = createSampleHistogram(gpu, shape);
        await bench.run(run(createSampleMaxima(gpu, shape)), run(histogram, 0), run(histogram, 4));
        const got = await asWords(outputs.histogram);
        const bins = (pass: number, unit: number) =>
          Array.from({ length: 256 }, (_, i) => {
            const at = (pass * 256 + i) * 2;
            return (got[at]! + got[at + 1]! * 2 ** 32) * unit;
          });
        const logits = penalised();
        const keys = Array.from(logits, topByte);
        const exponent = 9 / params.temperature; // the largest that is met
        return worst(
          compare('counts', bins(0, 1), binsReference(keys, new Float64Array(vocab).fill(1)), 0),
          compare(
            'weights',
            bins(4, 2 ** -44),
            binsReference(keys, weightsReference(logits, params.temperature)),
            (expUlps(exponent) + 3 * exponent) * ulp,
            1,
          ),
        );
      }),
  },
  {
    kernel: 'sample_sums',
    name: `${vocab} weights`,
    why: 'nothing filtered',
    run: (gpu) =>
      onBench(gpu, async (bench) => {
        const { outputs, run, penalised } = open(bench, none);
        await bench.run(run(createSampleMaxima(gpu, shape)), run(createSampleSums(gpu, shape)));
        const got = await bench.read(outputs.blocks);
        const want = blockSumsReference(weightsReference(penalised(), none.temperature), block);
        return compare('sums', [got[4]!, got[10]!, got[16]!], want, (expUlps(9) + 27 + 32) * ulp);
      }),
  },
];

type Draw = { kernel: string; params: Partial<SampleParams>; why: string };
const draws: Draw[] = [
  { kernel: 'sample_greedy', params: { temperature: 0 }, why: 'ties to the lowest id' },
  { kernel: 'sample_greedy', params: { temperature: 0, ...penalties }, why: 'penalties may change which is largest' },
  { kernel: 'sample_merge', params: { topK: 20, topP: 0.95 }, why: 'what most requests ask for' },
  { kernel: 'sample_merge', params: { topK: 128, minP: 0.05 }, why: 'the longest lists, in several steps' },
  { kernel: 'sample_draw', params: {}, why: 'everything is left' },
  { kernel: 'sample_draw', params: { topP: 0.7, minP: 0.01 }, why: 'top-p by weights' },
  { kernel: 'sample_draw', params: { topK: 300, topP: 0.8 }, why: 'top-k by counts, then top-p of it' },
];

const drawCases = draws.map(({ kernel, params: set, why }): KernelCase => {
  const params = { ...none, ...set };
  return {
    kernel,
    name:
      Object.entries(set)
        .map(([name, value]) => `${name} ${value}`)
        .join(', ') || 'no filter',
    why,
    run: (gpu) =>
      onBench(gpu, async (bench) => {
        const next = random(23);
        const us = packDraws(Array.from({ length: ring }, next));
        const { outputs, run, asWords, penalised } = open(bench, params, us);
        const { kind, passes, end } = planSample(params, shape);
        const maxima = createSampleMaxima(gpu, shape);
        const histogram = createSampleHistogram(gpu, shape);
        const isPenalised = params.repetitionPenalty !== 1;
        const count = isPenalised ? 1 : ring;
        const token =
          kind === 'greedy'
            ? [run(maxima), run(createSampleGreedy(gpu, shape))]
            : kind === 'lists'
              ? [run(createSampleTopK(gpu, shape)), run(createSampleMerge(gpu, shape))]
              : [
                  run(maxima),
                  ...passes.map((pass) => run(histogram, pass)),
                  run(createSampleSums(gpu, shape), end),
                  run(createSampleDraw(gpu, shape), end),
                ];
        await bench.run(...Array.from({ length: count }, () => token).flat());
        const got = [...(await asWords(outputs.emitted)).subarray(0, count)];
        const logits = penalised();
        const want =
          kind === 'greedy'
            ? Float64Array.from({ length: count }, () => blockLargestReference(logits, vocab, 1)[1]!)
            : drawnReference(probabilitiesReference(logits, params), us);
        return worst(compare('tokens', got, want, 0), compare('ids', await asWords(outputs.ids), want.slice(-1), 0));
      }),
  };
});

export const sampleCases: KernelCase[] = [...rows, ...drawCases];
