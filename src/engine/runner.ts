/** Runs steps: tokens of a sequence through the recorded model, logits of the rows asked for back to the CPU. */
import { EngineError, throwIfAborted, unlessAborted } from '../errors';
import type { ModelConfig } from '../format/types';
import type { Gpu } from '../gpu/device';
import { type Dispatch, someTiles } from '../gpu/dispatch';
import { deviceLostError, Readback } from '../gpu/readback';
import { firstTileAt, packStep, slotsAt } from '../kernels/step';
import type { HeadSection, Recordings } from '../model/qwen35';
import type { Section } from '../model/recorder';
import type { Scratch } from '../model/scratch';
import type { Sequence } from '../model/sequence';
import type { MemoryPlan } from '../plan/memory_plan';
import { Deferred } from '../stream/deferred';
import type { EmbeddingRows } from '../stream/embedding_rows';
import type { ExpertCache } from '../stream/expert_cache';
import type { WeightStream } from '../stream/weight_stream';
import { Batches, bySlab } from './batch';
import type { Mixtures } from './mixtures';
import { Pacer } from './pacing';
import {
  attentionFlop,
  attentionFlopPerDispatch,
  type Chunk,
  chunksOf,
  headSlices,
  inSlots,
  modeOf,
  passesOf,
  type Slice,
  type SlotChunk,
} from './passes';
import type { Speculation } from './speculation';
import { checkParts, type StepPart } from './step_part';

export type RunnerParts = {
  plan: MemoryPlan;
  scratch: Scratch;
  recordings: ReadonlyMap<Sequence, Recordings>;
  weights: WeightStream;
  /** Undefined where the whole embedding is resident. */
  rows: EmbeddingRows | undefined;
  /** Of a mixture, and what runs it. */
  experts: ExpertCache | undefined;
  mixture: typeof import('./mixture_run') | undefined;
  /** Compute tokens before their experts are known to be there. Default 'auto': where few of them are missing. */
  speculation?: 'auto' | 'on' | 'off' | undefined;
};

/** A pass under way: some chunks of a part, run unit by unit. */
type Pass = {
  sequence: Sequence;
  recordings: Recordings;
  chunks: SlotChunk[];
  ids: Uint32Array<ArrayBuffer>;
  signal: AbortSignal | undefined;
  /** Several chunks share a unit: their residual rows wait in scratch.residual. */
  shared: boolean;
};

export class Runner {
  readonly #gpu: Gpu;
  readonly #config: ModelConfig;
  readonly #parts: RunnerParts;
  /** What passes take turns with; a measurement puts an idle one in its place. */
  #weights: Pick<WeightStream, 'beginPass' | 'endPass' | 'acquire' | 'release'>;
  readonly #pacer: Pacer;
  readonly #batches: Batches;
  readonly #readbacks: Readback[];
  readonly #mixtures: Mixtures | undefined;
  readonly #speculation: Speculation | undefined;
  /** Rejects when the device is lost; each step has its own. */
  #lost: Deferred | undefined;

  constructor(gpu: Gpu, config: ModelConfig, parts: RunnerParts) {
    this.#gpu = gpu;
    this.#config = config;
    this.#parts = parts;
    this.#weights = parts.weights;
    this.#pacer = new Pacer(gpu.adapter.isCpu);
    this.#batches = new Batches(gpu);
    this.#readbacks = [0, 1].map((i) => new Readback(gpu, `logits readback ${i}`, parts.scratch.logits.size));
    const { experts, mixture, scratch, plan } = parts;
    if (experts && mixture) {
      const shape = { chosen: config.moe!.chosen, hiddenSize: config.hiddenSize, layers: config.numHiddenLayers };
      const own = { experts, scratch, batches: this.#batches, shape };
      this.#mixtures = new mixture.Mixtures(gpu, own);
      const some = plan.experts?.complete === false && plan.streamedBytesPerToken === 0;
      if (some) this.#speculation = new mixture.Speculation(gpu, own);
    }
    void gpu.device.lost.then(() => this.#lost?.reject(deviceLostError(gpu)));
  }

  /**
   * Consumes the tokens of every part: in passes over the units, each pass in chunks. A cancelled or failed part leaves its
   * sequence between two states: reset it.
   * @throws EngineError 'context-length' or 'format' (an id outside the vocabulary) before anything runs, 'storage' (weights could
   *   not be read), 'device-lost'; AbortError.
   */
  async step(parts: readonly StepPart[], signal?: AbortSignal): Promise<void> {
    checkParts(parts, this.#config.vocabSize);
    if (this.#gpu.loss.info) throw deviceLostError(this.#gpu);
    for (const { sequence } of parts) sequence.changes++;
    await this.#unlessLost(this.#run(parts, signal));
  }

  /** What a lost device leaves waiting for a slow read, nobody needs to wait for. @throws EngineError 'device-lost' */
  async #unlessLost(running: Promise<void>): Promise<void> {
    const lost = new Deferred();
    this.#lost = lost;
    try {
      await Promise.race([running, lost.promise]);
    } finally {
      this.#lost = undefined;
    }
  }

  /**
   * Copies recurrent and conv state from one slot to another, between steps. It goes through the residual rows: WebGPU copies nothing
   * within one buffer.
   */
  copySlot(sequence: Sequence, source: number, target: number): void {
    const { hidden } = this.#parts.scratch;
    const encoder = this.#gpu.device.createCommandEncoder({ label: 'copy slot' });
    const targets = sequence.state(target);
    for (const [i, { buffer, byteOffset, bytes }] of sequence.state(source).entries()) {
      for (let done = 0; done < bytes; done += hidden.size) {
        const piece = Math.min(hidden.size, bytes - done);
        encoder.copyBufferToBuffer(buffer, byteOffset + done, hidden, 0, piece);
        encoder.copyBufferToBuffer(hidden, 0, buffer, targets[i]!.byteOffset + done, piece);
      }
    }
    this.#gpu.device.queue.submit([encoder.finish()]);
  }

  /** Bytes of a buffer that steps write, between steps, through the buffer that logits come back by. @throws EngineError 'device-lost'. */
  async readBuffer(source: GPUBuffer, byteOffset: number, into: Uint8Array<ArrayBuffer>): Promise<void> {
    const [readback] = this.#readbacks;
    const pieceBytes = Math.floor(this.#parts.scratch.logits.size / 4) * 4;
    for (let done = 0; done < into.byteLength; done += pieceBytes) {
      const bytes = Math.min(pieceBytes, into.byteLength - done);
      const encoder = this.#gpu.device.createCommandEncoder({ label: 'read state' });
      readback!.copyFrom(encoder, source, byteOffset + done, bytes);
      this.#gpu.device.queue.submit([encoder.finish()]);
      const { buffer, byteOffset: at } = await readback!.floats(bytes);
      into.set(new Uint8Array(buffer, at, bytes), done);
    }
  }

  async #run(parts: readonly StepPart[], signal: AbortSignal | undefined): Promise<void> {
    try {
      for (const part of parts) await this.#part(part, signal);
    } catch (error) {
      this.#batches.drop();
      throw error;
    }
  }

  /**
   * Queues one token of a sequence whose id and step lie in GPU memory, logits in scratch.logits, and `then` behind it; with `first` only
   * `then`. All weights are resident and in place. Waits for nothing; what `copy` records comes last.
   */
  queueToken(sequence: Sequence, first: boolean, then: readonly Dispatch[], copy: (encoder: GPUCommandEncoder) => void): void {
    const { body, head } = this.#recordingsOf(sequence).decode;
    const perSubmit = this.#pacer.sectionsPerSubmit(1, body.length + head.length);
    for (const sections of first ? [] : [body, head]) {
      for (const { dispatches } of sections) {
        if (this.#batches.sections >= perSubmit) this.#batches.submitUnwatched();
        this.#batches.run(dispatches, 1);
      }
    }
    this.#batches.run(then, 1);
    copy(this.#batches.encoder());
    this.#batches.submitUnwatched();
  }

  /** Whether tokens wait for experts: `queueToken` cannot run them. */
  get waitsForExperts(): boolean {
    return this.#parts.experts?.complete === false;
  }

  /**
   * As `queueToken`, for a token whose experts may have to be fetched: resolves when all of it is in the queue. Until then the sequence's
   * state is what it was before, and stays so if this fails.
   * @throws what a read of an expert throws; EngineError 'device-lost'; AbortError.
   */
  async runToken(
    sequence: Sequence,
    then: readonly Dispatch[],
    copy: (encoder: GPUCommandEncoder) => void,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const recordings = this.#recordingsOf(sequence);
    const targetSlot = this.#otherSlot(sequence);
    const slots = Uint32Array.of(sequence.slot, targetSlot);
    this.#gpu.device.queue.writeBuffer(this.#parts.scratch.step, slotsAt, slots);
    const chunk = { first: 0, tokens: 1, position: sequence.length, sourceSlot: sequence.slot, targetSlot };
    const pass: Pass = { sequence, recordings, chunks: [chunk], ids: new Uint32Array(1), signal, shared: false };
    try {
      await this.#unlessLost(this.#body({}, pass, 0));
    } catch (error) {
      this.#batches.drop();
      throw error;
    }
    sequence.slot = targetSlot;
    for (const { dispatches } of recordings.decode.head) this.#batches.run(dispatches, 1);
    this.#batches.run(then, 1);
    copy(this.#batches.encoder());
    this.#batches.submit();
    this.#batches.forget();
  }

  /** How long a token that `queueToken` queued took, where the GPU had no pause. */
  tokenTook(sequence: Sequence, ms: number): void {
    const { body, head } = this.#recordingsOf(sequence).decode;
    this.#pacer.measured(1, body.length + head.length, ms);
  }

  /**
   * Milliseconds for a step of `tokens` tokens with nothing read or uploaded: whatever lies in the slots is computed with. The
   * sequence's state is spoilt: reset it. Nothing else may run.
   */
  async measureCompute(sequence: Sequence, tokens = 1): Promise<number> {
    const weights = this.#weights;
    const { experts } = this.#parts;
    const wasComplete = experts?.complete;
    this.#weights = { beginPass() {}, endPass() {}, release() {}, acquire: async () => {} };
    if (!wasComplete) experts?.alias();
    try {
      sequence.reset();
      await this.#batches.done();
      const started = performance.now();
      await this.step([{ sequence, tokens: new Uint32Array(tokens), logits: 'last' }]);
      return performance.now() - started;
    } finally {
      this.#weights = weights;
      if (!wasComplete) experts?.unalias();
    }
  }

  #recordingsOf(sequence: Sequence): Recordings {
    const recordings = this.#parts.recordings.get(sequence);
    if (!recordings) throw new EngineError('internal', 'This sequence was not recorded with this model.');
    return recordings;
  }

  async #part(part: StepPart, signal: AbortSignal | undefined): Promise<void> {
    const { sequence, tokens } = part;
    const recordings = this.#recordingsOf(sequence);
    const { plan, scratch } = this.#parts;
    const { passTokens, chunkTokens } = plan.scratch;
    const { snapshots = [] } = part;
    const cuts = snapshots.map(({ after }) => after);
    const mostFlop = this.#gpu.direct ? attentionFlopPerDispatch : Number.POSITIVE_INFINITY; // elsewhere it goes in pieces
    const all = chunksOf(this.#config, sequence.length, tokens.length, chunkTokens, cuts, mostFlop);
    const slotChunks = inSlots(all, sequence.slot, snapshots);
    const chunks = this.#speculates(tokens.length)
      ? slotChunks.map((chunk) => ({ ...chunk, targetSlot: this.#otherSlot(sequence) }))
      : slotChunks;
    // Far into a long context two chunks may be shorter than one; without room for residual rows each is a pass all the same.
    for (const group of passesOf(chunks, scratch.residual ? passTokens : 0)) {
      const first = group[0]!.first;
      const count = group.reduce((sum, chunk) => sum + chunk.tokens, 0);
      const ids = tokens.subarray(first, first + count);
      const pass: Pass = { sequence, recordings, chunks: group, ids, signal, shared: group.length > 1 };
      await this.#pass(part, pass, first);
      part.onProgress?.(first + count);
    }
    const last = snapshots.at(-1);
    if (last?.after === tokens.length) this.copySlot(sequence, sequence.slot, last.slot);
  }

  async #pass(part: StepPart, pass: Pass, first: number): Promise<void> {
    const weights = this.#weights;
    const { scratch } = this.#parts;
    const isLast = first + pass.ids.length === part.tokens.length;
    const wantedFrom = part.logits === 'all' ? 0 : part.logits === 'last' && isLast ? pass.ids.length - 1 : pass.ids.length;
    const slices = headSlices(pass.chunks, first, wantedFrom, scratch.headRows);
    const started = performance.now();
    weights.beginPass(slices.length > 0);
    if (!pass.shared) this.#writeStep(pass, pass.chunks[0]!);
    await this.#body(part, pass, first);
    pass.sequence.length += pass.ids.length;
    pass.sequence.slot = pass.chunks.at(-1)!.targetSlot;
    if (slices.length > 0) await this.#head(part, pass, slices, first);
    else {
      this.#batches.submit();
      await this.#batches.done();
    }
    weights.endPass();
    // What was waited for experts says nothing about the GPU.
    if (!pass.shared && this.#parts.experts?.complete !== false) this.#measured(pass, performance.now() - started);
  }

  #measured(pass: Pass, ms: number): void {
    this.#pacer.measured(pass.ids.length, this.#sections(pass).length, ms);
    if (pass.ids.length === 1) return; // a token's attention is never cut
    const layers = this.#config.layerTypes.filter((type) => type === 'full_attention').length;
    this.#pacer.measuredAttention(layers * attentionFlop(this.#config, pass.chunks[0]!), ms);
  }

  /** Whether a token is computed before its experts are known to be there. */
  #speculates(tokens: number): boolean {
    const { experts, speculation = 'auto' } = this.#parts;
    if (tokens !== 1 || !this.#speculation || experts!.complete || speculation === 'off') return false;
    return speculation === 'on' || this.#speculation.pays;
  }

  /** So that what a token reads is still there when it is computed again: the last slot, or the first. */
  #otherSlot({ slot, shape }: Sequence): number {
    return slot === shape.slots - 1 ? 0 : shape.slots - 1;
  }

  #sections({ recordings, chunks }: Pass): readonly Section[] {
    return recordings[modeOf(chunks[0]!.tokens)].body;
  }

  /** Every unit in turn, over all chunks of the pass: a unit is loaded once however long the prompt. */
  async #body(part: Pick<StepPart, 'onProgress'>, pass: Pass, first: number): Promise<void> {
    const weights = this.#weights;
    const { plan } = this.#parts;
    const sections = this.#sections(pass);
    const perSubmit = this.#pacer.sectionsPerSubmit(pass.ids.length, sections.length);
    if (this.#speculates(pass.ids.length)) {
      for (const { unit } of sections) await unlessAborted(weights.acquire(unit), pass.signal);
      if (this.#parts.rows) await this.#parts.rows.load(pass.ids, pass.signal);
      const onMeasured = (count: number, ms: number) => this.#pacer.measured(1, count, ms);
      return this.#speculation!.run({ sections, perSubmit, signal: pass.signal, onMeasured });
    }
    for (const [index, section] of sections.entries()) {
      throwIfAborted(pass.signal);
      await unlessAborted(weights.acquire(section.unit), pass.signal);
      if (section.unit === -1 && this.#parts.rows && !pass.shared) await this.#parts.rows.load(pass.ids, pass.signal);
      const streamed = plan.streamed[section.unit] === true;
      if (pass.shared) await this.#sharedSection(pass, index, first);
      else await this.#runUnit(section, pass.chunks[0]!, streamed, pass.signal);
      if (streamed || this.#batches.sections >= perSubmit) {
        this.#batches.submit();
        if (streamed) weights.release(section.unit);
        await this.#batches.room();
      }
      if (pass.shared) part.onProgress?.(first + Math.floor((pass.ids.length * (index + 1)) / (sections.length + 1)));
    }
  }

  /**
   * A mixture waits for its experts, unless all are there. A streamed unit that takes the GPU long goes in several submits: copies of the
   * next one queue between them, where they would otherwise wait for all of it, with every staging buffer full and no read under way. One
   * token's unit is short on a GPU.
   */
  async #runUnit(section: Section, chunk: Chunk, streamed: boolean, signal: AbortSignal | undefined): Promise<void> {
    const { dispatches, mixture } = section;
    if (mixture && !this.#parts.experts!.complete) return this.#mixtures!.run(mixture, chunk.tokens, signal);
    if (chunk.tokens === 1 && !this.#gpu.adapter.isCpu) return this.#batches.run(dispatches, 1);
    if (!streamed) return this.#runPaced(dispatches, chunk, signal);
    for (const run of bySlab(dispatches)) {
      throwIfAborted(signal);
      await this.#runPieces(run, chunk, signal);
      this.#batches.submit();
      await this.#batches.room();
    }
  }

  /** In as many submits as keep each short enough. */
  async #runPaced(dispatches: readonly Dispatch[], chunk: Chunk, signal: AbortSignal | undefined): Promise<void> {
    const perSubmit = Math.ceil(dispatches.length / this.#pacer.submitsPerSection(chunk.tokens));
    for (let first = 0; first < dispatches.length; first += perSubmit) {
      if (first > 0) {
        this.#batches.submit();
        await this.#batches.room();
        throwIfAborted(signal);
      }
      await this.#runPieces(dispatches.slice(first, first + perSubmit), chunk, signal);
    }
  }

  /**
   * Attention reads every earlier position for each token, and no submit can be shorter than a dispatch: far into a long context it
   * goes in several, so that a slow GPU stays below its watchdog. How many changes no bit of what it computes.
   */
  async #runPieces(dispatches: readonly Dispatch[], chunk: Chunk, signal: AbortSignal | undefined): Promise<void> {
    const { tokens } = chunk;
    const count = Math.ceil(attentionFlop(this.#config, chunk) / this.#pacer.attentionFlop());
    const long = count > 1 ? dispatches.findIndex(({ kernel }) => (kernel.tiles?.(tokens) ?? 1) > 1) : -1;
    if (long < 0) return this.#batches.run(dispatches, tokens);
    const dispatch = dispatches[long]!;
    const tiles = dispatch.kernel.tiles!(tokens);
    const perPiece = Math.ceil(tiles / count);
    this.#batches.run(dispatches.slice(0, long), tokens);
    for (let first = 0; first < tiles; first += perPiece) {
      this.#batches.submit();
      await this.#batches.room();
      throwIfAborted(signal);
      this.#setFirstTile(first);
      this.#batches.run([someTiles(dispatch, Math.min(perPiece, tiles - first))], tokens);
    }
    this.#batches.submit();
    this.#setFirstTile(0);
    this.#batches.run(dispatches.slice(long + 1), tokens);
  }

  /** For what is submitted from then on. */
  #setFirstTile(tile: number): void {
    this.#gpu.device.queue.writeBuffer(this.#parts.scratch.step, firstTileAt, Uint32Array.of(tile));
  }

  /** One section over every chunk: the chunk's residual rows come in and go out by copy, everything else is chunk-sized. */
  async #sharedSection(pass: Pass, index: number, first: number): Promise<void> {
    const { scratch, rows } = this.#parts;
    const residual = scratch.residual!;
    const rowBytes = this.#config.hiddenSize * 4;
    for (const chunk of pass.chunks) {
      throwIfAborted(pass.signal);
      const at = chunk.first - first;
      const bytes = chunk.tokens * rowBytes;
      const section = pass.recordings[modeOf(chunk.tokens)].body[index]!;
      this.#writeStep(pass, chunk, at);
      if (index === 0 && rows) await rows.load(pass.ids.subarray(at, at + chunk.tokens), pass.signal);
      if (index > 0) this.#batches.copy(residual, at * rowBytes, scratch.hidden, 0, bytes);
      if (section.resume) this.#batches.run(section.resume, chunk.tokens);
      await this.#runUnit(section, chunk, this.#parts.plan.streamed[section.unit] === true, pass.signal);
      this.#batches.copy(scratch.hidden, 0, residual, at * rowBytes, bytes);
      this.#batches.submit();
      await this.#batches.room();
    }
  }

  /** Position and count of a chunk, and its ids where the embedding is looked up by id, for what is submitted from then on. */
  #writeStep({ ids }: Pass, chunk: SlotChunk, at = 0): void {
    const { scratch, rows } = this.#parts;
    const { queue } = this.#gpu.device;
    if (!rows) queue.writeBuffer(scratch.ids, 0, ids, at, chunk.tokens);
    queue.writeBuffer(scratch.step, 0, packStep(chunk));
  }

  /** Slices of the vocabulary in turn, each over all rows asked for; two results are on their way while the next is computed. */
  async #head(part: StepPart, pass: Pass, slices: readonly Slice[], first: number): Promise<void> {
    const arriving: Promise<void>[] = [];
    try {
      await this.#headUnits(part, pass, slices, first, arriving);
      for (const delivered of arriving) await delivered;
    } finally {
      await Promise.allSettled(arriving); // a buffer that is still being mapped cannot take the next pass's copy
    }
  }

  async #headUnits(
    part: StepPart,
    pass: Pass,
    slices: readonly Slice[],
    first: number,
    arriving: Promise<void>[],
  ): Promise<void> {
    const weights = this.#weights;
    const { plan } = this.#parts;
    let turn = 0;
    for (const index of pass.recordings.decode.head.keys()) {
      const unit = pass.recordings.decode.head[index]!.unit;
      throwIfAborted(pass.signal);
      await unlessAborted(weights.acquire(unit), pass.signal);
      for (const [nth, slice] of slices.entries()) {
        throwIfAborted(pass.signal);
        if (arriving.length === this.#readbacks.length) await arriving.shift();
        const readback = this.#readbacks[turn++ % this.#readbacks.length]!;
        const section = pass.recordings[slice.mode].head[index]!;
        this.#submitSlice(pass, section, slice, readback, first);
        if (plan.streamed[unit] && nth === slices.length - 1) weights.release(unit);
        const delivered = this.#deliver(part, section, slice, readback);
        delivered.catch(() => {}); // awaited below; until then it must not count as unhandled
        arriving.push(delivered);
      }
    }
  }

  #submitSlice(pass: Pass, section: HeadSection, slice: Slice, readback: Readback, first: number): void {
    const { scratch } = this.#parts;
    const rowBytes = this.#config.hiddenSize * 4;
    const inPass = slice.firstToken - first;
    if (pass.shared) this.#batches.copy(scratch.residual!, inPass * rowBytes, scratch.hidden, 0, slice.rows * rowBytes);
    const headStep = packStep({ tokens: slice.rows, firstRow: pass.shared ? 0 : inPass });
    this.#gpu.device.queue.writeBuffer(scratch.headStep, 0, headStep);
    this.#batches.run(section.dispatches, slice.rows);
    readback.copyFrom(this.#batches.encoder(), scratch.logits, 0, slice.rows * section.words * 4);
    this.#batches.submit();
  }

  /** Waits for a tile also where nobody listens: a step is over when its work is. */
  async #deliver(part: StepPart, { firstWord, words }: HeadSection, slice: Slice, readback: Readback): Promise<void> {
    const values = await readback.floats(slice.rows * words * 4);
    part.onLogits?.({ values, firstToken: slice.firstToken, rows: slice.rows, firstWord, words });
  }
}
