/**
 * Draws tokens on the GPU. Its buffers and bind groups are made once; per token its dispatches follow the head's in the same pass, and
 * the id is where the next step's embedding lookup reads it. What the CPU does is per request (parameters, history) or per ring
 * (random numbers in, ids out).
 */
import type { Gpu } from '../gpu/device';
import type { Dispatch } from '../gpu/dispatch';
import type { Kernel } from '../gpu/kernel';
import type { BufferRange } from '../gpu/memory';
import {
  createSampleDraw,
  createSampleGreedy,
  createSampleHistogram,
  createSampleMaxima,
  createSampleMerge,
  createSampleSums,
  createSampleTopK,
  packDraws,
  packHistory,
  packSampleParams,
  planSample,
  type SampleParams,
  type SampleShape,
} from '../kernels/sample';
import { samplerBytes } from '../plan/shapes';

export type SamplerOptions = SampleShape & {
  /** [vocab or more] f32: one token's logits. What lies behind `vocab` is never drawn. */
  logits: BufferRange;
  /** [1 or more] u32: the token goes to the first. */
  ids: BufferRange;
};

type Buffers = Record<keyof ReturnType<typeof samplerBytes>, GPUBuffer>;

export class Sampler {
  readonly shape: SampleShape;
  /** `emitted` [ring] u32 and `state` (unpackSampleState) are copied from; token t of a request is emitted[t % ring]. */
  readonly buffers: Readonly<Buffers>;
  /** Resolves when every kernel can be encoded. @throws EngineError 'internal' if one does not compile. */
  readonly ready: Promise<void>;
  readonly #gpu: Gpu;
  readonly #dispatches: ReturnType<typeof makeDispatches>;

  /** Buffers come from `gpu.memory` and live as long as it. @throws EngineError 'budget' if there is no room for them. */
  constructor(gpu: Gpu, { vocab, ring, logits, ids }: SamplerOptions) {
    this.shape = { vocab, ring };
    this.#gpu = gpu;
    this.buffers = makeBuffers(gpu, this.shape);
    const turns = new Uint32Array(samplerBytes(this.shape).turns / 4);
    for (let turn = 0; turn < 9; turn++) turns[turn * 64] = turn;
    gpu.device.queue.writeBuffer(this.buffers.turns, 0, turns);
    this.#dispatches = makeDispatches(gpu, this.shape, this.buffers, { logits, ids });
    this.ready = Promise.all([...this.#dispatches.kernels].map((kernel) => kernel.ready)).then(() => {});
    this.ready.catch(() => {}); // reported to whoever awaits it
  }

  /**
   * Starts a request: its parameters, what it has read and written so far; the next token is token 0 of the ring again. `draws` are
   * the first `ring` random numbers, or as many as there are tokens to draw.
   */
  begin(
    params: SampleParams,
    prompt: Iterable<number>,
    draws: readonly number[],
    replyCounts: ReadonlyMap<number, number> = new Map(),
  ): void {
    const { queue } = this.#gpu.device;
    queue.writeBuffer(this.buffers.params, 0, packSampleParams(params, this.shape));
    queue.writeBuffer(this.buffers.history, 0, packHistory(this.shape.vocab, prompt, replyCounts));
    queue.writeBuffer(this.buffers.state, 0, new Uint32Array(4));
    this.writeDraws(0, draws);
  }

  /** Random numbers for tokens `first` and on; those must not be in flight that last used their places in the ring. */
  writeDraws(first: number, draws: readonly number[]): void {
    const packed = packDraws(draws);
    const start = first % this.shape.ring;
    const fits = Math.min(packed.length, this.shape.ring - start);
    const { queue } = this.#gpu.device;
    queue.writeBuffer(this.buffers.draws, start * 4, packed, 0, fits);
    if (fits < packed.length) queue.writeBuffer(this.buffers.draws, 0, packed, fits);
  }

  /** What draws one token with these parameters, which `begin` has been given. Nothing is made. */
  dispatches(params: SampleParams): readonly Dispatch[] {
    const { greedy, lists, maxima, passes, ends } = this.#dispatches;
    const plan = planSample(params, this.shape);
    if (plan.kind === 'greedy') return greedy;
    if (plan.kind === 'lists') return lists;
    return [maxima, ...plan.passes.map((pass) => passes[pass]!), ...ends.get(plan.end)!];
  }
}

function makeBuffers(gpu: Gpu, shape: SampleShape): Buffers {
  const { STORAGE, UNIFORM, COPY_SRC, COPY_DST } = GPUBufferUsage;
  const make = ([name, bytes]: [string, number]) => {
    const kind = name === 'params' || name === 'turns' ? UNIFORM : STORAGE;
    return [name, gpu.memory.create(`sampler ${name}`, bytes, kind | COPY_SRC | COPY_DST)];
  };
  return Object.fromEntries(Object.entries(samplerBytes(shape)).map(make));
}

function makeDispatches(gpu: Gpu, shape: SampleShape, buffers: Buffers, { logits, ids }: Pick<SamplerOptions, 'logits' | 'ids'>) {
  const kernels = new Set<Kernel>();
  const at = (turn: number): BufferRange => ({ buffer: buffers.turns, offset: turn * 256, size: 4 });
  const make = (kernel: Kernel, turn = 0): Dispatch => {
    kernels.add(kernel);
    const all: Record<string, BufferRange> = { logits, ids, turn: at(turn) };
    for (const [name, buffer] of Object.entries(buffers)) all[name] = { buffer };
    const ranges = Object.fromEntries(kernel.bindings.map((name) => [name, all[name]!]));
    return { kernel, activations: kernel.bind(ranges), rows: 0 };
  };
  const maxima = make(createSampleMaxima(gpu, shape));
  const histogram = createSampleHistogram(gpu, shape);
  const sums = createSampleSums(gpu, shape);
  const draw = createSampleDraw(gpu, shape);
  return {
    kernels,
    maxima,
    greedy: [maxima, make(createSampleGreedy(gpu, shape))],
    lists: [make(createSampleTopK(gpu, shape)), make(createSampleMerge(gpu, shape))],
    passes: Array.from({ length: 8 }, (_, pass) => make(histogram, pass)),
    ends: new Map([0, 4, 8].map((turn) => [turn, [make(sums, turn), make(draw, turn)]])),
  };
}
