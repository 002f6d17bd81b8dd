/**
 * Decoding in which no step waits for JavaScript, unless for experts: a drawn token stays on the GPU, where the next step reads it, and several steps are
 * in the queue while ids come back one after another. What lies behind a stop token changes nothing (see advance.wgsl); what lies
 * behind a reply that ends otherwise was read by the sequence, and `close` says so.
 */
import { throwIfAborted, unlessAborted } from '../errors';
import type { Gpu } from '../gpu/device';
import type { Dispatch } from '../gpu/dispatch';
import { settled } from '../gpu/readback';
import { createAdvance, mostStops, packStops } from '../kernels/advance';
import { type SampleParams, unpackSampleState } from '../kernels/sample';
import { packStep } from '../kernels/step';
import { Sampler } from '../model/sampler';
import type { Scratch } from '../model/scratch';
import type { Sequence } from '../model/sequence';
import { loopBytes, loopRing } from '../plan/shapes';
import type { Random } from './random';
import type { Runner } from './runner';
import { nonFinite } from './sampling';

/** Tokens in the queue: the GPU computes one, the next waits, and the one before is on its way back. */
const tokensInFlight = 3;
/** The id, and the sampler's state. */
const resultBytes = 32;

export type LoopRequest = {
  params: SampleParams;
  /** Ids that prompt and reply hold, and how often the reply has had each so far. */
  seen: Iterable<number>;
  replyCounts: ReadonlyMap<number, number>;
  /** Its own: numbers are drawn ahead. */
  random: Random;
  /** At most `mostStops`. */
  stopIds: ReadonlySet<number>;
  /** Tokens that may be drawn, the stop token among them. */
  limit: number;
};

type Result = { buffer: GPUBuffer; read: Promise<{ id: number; state: Uint32Array }> };

/** Everything that is made once: one loop at a time runs on it. */
export class TokenLoops {
  readonly sampler: Sampler;
  readonly ready: Promise<unknown>;
  readonly #gpu: Gpu;
  readonly #runner: Runner;
  readonly #scratch: Scratch;
  readonly #stops: GPUBuffer;
  readonly #advance: Dispatch;
  readonly #results: GPUBuffer[];

  /** Logits of one token lie in scratch.logits, all words of them. @throws EngineError 'budget' */
  constructor(gpu: Gpu, runner: Runner, scratch: Scratch, vocab: number) {
    this.#gpu = gpu;
    this.#runner = runner;
    this.#scratch = scratch;
    const ids = { buffer: scratch.ids };
    this.sampler = new Sampler(gpu, { vocab, ring: loopRing, logits: { buffer: scratch.logits }, ids });
    const { STORAGE, COPY_DST, MAP_READ } = GPUBufferUsage;
    this.#stops = gpu.memory.create('stop ids', loopBytes.stops, STORAGE | COPY_DST);
    this.#results = Array.from({ length: loopBytes.results / resultBytes }, (_, i) =>
      gpu.memory.create(`token ${i}`, resultBytes, MAP_READ | COPY_DST),
    );
    const advance = createAdvance(gpu);
    const activations = advance.bind({ ids, stops: { buffer: this.#stops }, step: { buffer: scratch.step } });
    this.#advance = { kernel: advance, activations, rows: 0 };
    this.ready = Promise.all([this.sampler.ready, advance.ready]);
    this.ready.catch(() => {}); // reported to whoever awaits it
  }

  /** Whether a request can be decoded so. */
  static suits(stopIds: ReadonlySet<number>): boolean {
    return stopIds.size <= mostStops;
  }

  /** A reply from `logits`, those after the last token that `sequence` has read. */
  begin(sequence: Sequence, logits: Float32Array<ArrayBuffer>, request: LoopRequest): TokenLoop {
    const { queue } = this.#gpu.device;
    sequence.changes++;
    queue.writeBuffer(this.#scratch.logits, 0, logits); // they may be kept ones, which no step has put there
    const { length: position, slot } = sequence;
    this.sampler.begin(request.params, request.seen, [], request.replyCounts);
    queue.writeBuffer(this.#stops, 0, packStops(request.stopIds));
    queue.writeBuffer(this.#scratch.headStep, 0, packStep({ tokens: 1 }));
    // Advancing after the first draw makes this the step that reads it.
    const before = packStep({ tokens: 1, position: position - 1, sourceSlot: slot, targetSlot: slot });
    queue.writeBuffer(this.#scratch.step, 0, before);
    const dispatches = [...this.sampler.dispatches(request.params), this.#advance];
    return new TokenLoop(this.#gpu, this.#runner, this.sampler, sequence, request, dispatches, this.#results);
  }
}

/** One reply under way. */
export class TokenLoop {
  /** Every id that came back, those after the end included. */
  readonly #ids: number[] = [];
  readonly #gpu: Gpu;
  readonly #runner: Runner;
  readonly #sampler: Sampler;
  readonly #sequence: Sequence;
  readonly #request: LoopRequest;
  readonly #dispatches: readonly Dispatch[];
  readonly #free: GPUBuffer[];
  readonly #pending: Result[] = [];
  /** Random numbers that were written, tokens that were queued. */
  #drawsWritten = 0;
  #queued = 0;
  /** When the last result arrived. */
  #arrivedMs = Number.NEGATIVE_INFINITY;

  constructor(
    gpu: Gpu,
    runner: Runner,
    sampler: Sampler,
    sequence: Sequence,
    request: LoopRequest,
    dispatches: readonly Dispatch[],
    results: readonly GPUBuffer[],
  ) {
    this.#gpu = gpu;
    this.#runner = runner;
    this.#sampler = sampler;
    this.#sequence = sequence;
    this.#request = request;
    this.#dispatches = dispatches;
    this.#free = [...results];
  }

  /** The next token. @throws EngineError 'non-finite', 'device-lost'; AbortError. */
  async next(signal?: AbortSignal): Promise<number> {
    throwIfAborted(signal);
    if (this.#runner.waitsForExperts) await this.#run(signal);
    while (this.#pending.length < this.#most && this.#queued < this.#request.limit && this.#free.length > 0) this.#queue();
    const result = this.#pending[0]!;
    const { id, state } = await unlessAborted(result.read, signal);
    this.#took(id);
    const { fault } = unpackSampleState(state);
    if (fault) throw nonFinite(fault.value, fault.token);
    return id;
  }

  /**
   * Waits for what is still in the queue, and notes in the sequence what it has read. Returns the tokens read: those of the reply, and
   * perhaps some that were drawn after its end. @throws EngineError 'device-lost'
   */
  async close(): Promise<number[]> {
    while (this.#pending.length > 0) {
      const { id } = await this.#pending[0]!.read;
      this.#took(id);
    }
    const stop = this.#ids.findIndex((id) => this.#request.stopIds.has(id));
    const read = this.#ids.slice(0, stop < 0 ? Math.max(0, this.#queued - 1) : stop);
    this.#sequence.length += read.length;
    this.#sequence.changes++;
    return read;
  }

  /** None may be queued behind a token that waits for its experts. */
  get #most(): number {
    return this.#runner.waitsForExperts ? 1 : tokensInFlight;
  }

  /** The next token, unless it is the first or on its way: it asks the CPU for its experts, and is drawn on the GPU all the same. */
  async #run(signal: AbortSignal | undefined): Promise<void> {
    if (this.#pending.length > 0 || this.#queued === 0 || this.#queued >= this.#request.limit) return;
    this.#writeDraws();
    const buffer = this.#free.at(-1)!;
    await this.#runner.runToken(this.#sequence, this.#dispatches, this.#copyTo(buffer), signal);
    this.#free.pop();
    this.#await(buffer);
  }

  /** One more token: the step that reads the last one, unless this is the first, and what draws the next. */
  #queue(): void {
    this.#writeDraws();
    const buffer = this.#free.pop()!;
    this.#runner.queueToken(this.#sequence, this.#queued === 0, this.#dispatches, this.#copyTo(buffer));
    this.#await(buffer);
  }

  #copyTo(buffer: GPUBuffer): (encoder: GPUCommandEncoder) => void {
    const { emitted, state } = this.#sampler.buffers;
    const place = this.#queued % loopRing;
    return (encoder) => {
      encoder.copyBufferToBuffer(emitted, place * 4, buffer, 0, 4);
      encoder.copyBufferToBuffer(state, 0, buffer, 16, 16);
    };
  }

  #await(buffer: GPUBuffer): void {
    this.#queued += 1;
    const read = this.#read(buffer);
    read.catch(() => {}); // reported to whoever waits for it
    this.#pending.push({ buffer, read });
  }

  /** Half a ring at a time: the places written to were read long before. */
  #writeDraws(): void {
    if (this.#request.params.temperature === 0 || this.#drawsWritten > this.#queued) return;
    const draws = Array.from({ length: Math.min(loopRing / 2, this.#request.limit - this.#queued) }, () =>
      this.#request.random.next(),
    );
    this.#sampler.writeDraws(this.#drawsWritten, draws);
    this.#drawsWritten += draws.length;
  }

  async #read(buffer: GPUBuffer): Promise<{ id: number; state: Uint32Array }> {
    const queuedMs = performance.now();
    await settled(this.#gpu, buffer.mapAsync(GPUMapMode.READ));
    const arrivedMs = performance.now();
    if (queuedMs < this.#arrivedMs) this.#runner.tokenTook(this.#sequence, arrivedMs - this.#arrivedMs); // the GPU had no pause
    this.#arrivedMs = arrivedMs;
    const words = new Uint32Array(buffer.getMappedRange().slice(0));
    buffer.unmap();
    return { id: words[0]!, state: words.subarray(4, 8) };
  }

  /** The first pending result has arrived. */
  #took(id: number): void {
    this.#free.push(this.#pending.shift()!.buffer);
    this.#ids.push(id);
  }
}
