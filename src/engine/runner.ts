/** Runs steps: tokens of a sequence through the recorded model, logits of the rows asked for back to the CPU. */
import { EngineError, throwIfAborted } from '../errors';
import type { ModelConfig } from '../format/types';
import type { Gpu } from '../gpu/device';
import { encode } from '../gpu/dispatch';
import { Readback, submittedWorkDone } from '../gpu/readback';
import { packStep } from '../kernels/step';
import type { Recordings } from '../model/qwen35';
import type { Mode, Section } from '../model/recorder';
import type { Scratch } from '../model/scratch';
import type { Sequence } from '../model/sequence';
import { Pacer } from './pacing';

/** Which rows of logits a step returns: none, that of the last token, or every token's. */
export type WantedLogits = 'none' | 'last' | 'all';

/** Tokens for one sequence. A step takes any number of these; each advances its own sequence. */
export type StepPart = {
  sequence: Sequence;
  tokens: Uint32Array<ArrayBuffer>;
  logits: WantedLogits;
  /** Called in order with [rows, vocabSize] f32; `firstToken` counts within `tokens`. */
  onLogits?(logits: Float32Array, firstToken: number): void;
  onProgress?(tokensDone: number): void;
};

/** 100 ms at half a TFLOP/s, which a slow integrated GPU gives attention. */
const attentionFlopPerDispatch = 5e10;

export class Runner {
  readonly #gpu: Gpu;
  readonly #config: ModelConfig;
  readonly #scratch: Scratch;
  readonly #recordings: ReadonlyMap<Sequence, Recordings>;
  readonly #chunkTokens: number;
  readonly #pacer: Pacer;
  readonly #readback: Readback;

  constructor(
    gpu: Gpu,
    config: ModelConfig,
    scratch: Scratch,
    recordings: ReadonlyMap<Sequence, Recordings>,
    chunkTokens: number,
  ) {
    this.#gpu = gpu;
    this.#config = config;
    this.#scratch = scratch;
    this.#recordings = recordings;
    this.#chunkTokens = chunkTokens;
    this.#pacer = new Pacer(gpu.adapter.isCpu);
    this.#readback = new Readback(gpu, 'logits readback', scratch.headRows * config.vocabSize * 4);
  }

  /**
   * Consumes the tokens of every part, in chunks. A cancelled or failed part leaves its sequence between two states: reset it.
   * @throws EngineError 'context-length' or 'format' (an id outside the vocabulary) before anything runs, 'device-lost'; AbortError.
   */
  async step(parts: readonly StepPart[], signal?: AbortSignal): Promise<void> {
    for (const { sequence, tokens } of parts) {
      const room = sequence.shape.contextTokens - sequence.length;
      if (tokens.length > room) {
        throw new EngineError(
          'context-length',
          `${sequence.length + tokens.length} tokens do not fit a context of ${sequence.shape.contextTokens}. Shorten the text or raise contextTokens.`,
        );
      }
    }
    for (const { tokens } of parts) this.#checkIds(tokens);
    for (const part of parts) {
      for (let first = 0; first < part.tokens.length; ) {
        const chunk = part.tokens.subarray(first, first + this.#chunkAt(part.sequence.length));
        await this.#chunk(part, chunk, first, signal);
        first += chunk.length;
        part.onProgress?.(first);
      }
    }
  }

  /**
   * Tokens of the next chunk. One dispatch of attention reads every earlier position for each of its tokens, and no submit can
   * be shorter than a dispatch: far into a long context chunks shrink, so that a slow GPU stays below its watchdog.
   */
  #chunkAt(position: number): number {
    const { numAttentionHeads, headDim } = this.#config;
    const flopPerToken = 4 * numAttentionHeads * headDim * (position + this.#chunkTokens);
    return Math.min(this.#chunkTokens, Math.max(16, Math.floor(attentionFlopPerDispatch / flopPerToken)));
  }

  /** An embedding has no row for such an id: the kernel would leave another token's in place. */
  #checkIds(tokens: Uint32Array): void {
    const { vocabSize } = this.#config;
    const outside = tokens.find((id) => id >= vocabSize);
    if (outside !== undefined) {
      throw new EngineError(
        'format',
        `Token id ${outside} is outside the model's vocabulary of ${vocabSize}. Do tokenizer and weights belong together?`,
      );
    }
  }

  async #chunk(part: StepPart, ids: Uint32Array<ArrayBuffer>, first: number, signal: AbortSignal | undefined): Promise<void> {
    const { sequence } = part;
    const recording = this.#recordings.get(sequence);
    if (!recording) throw new EngineError('internal', 'This sequence was not recorded with this model.');
    const started = performance.now();
    const { queue } = this.#gpu.device;
    queue.writeBuffer(this.#scratch.ids, 0, ids);
    queue.writeBuffer(
      this.#scratch.step,
      0,
      packStep({ tokens: ids.length, position: sequence.length, sourceSlot: sequence.slot, targetSlot: sequence.slot }),
    );
    const isLast = first + ids.length === part.tokens.length;
    const firstRow = part.logits === 'all' ? 0 : part.logits === 'last' && isLast ? ids.length - 1 : ids.length;
    const body = recording[modeOf(ids.length)].body;
    const slices = this.#slices(firstRow, ids.length);
    // The first slice of logits shares the last submit of the body: a decoded token is one submit where that is short enough.
    const head = slices.shift();
    await this.#submit(recording, body, ids.length, head, signal);
    sequence.length += ids.length;
    if (head) await this.#deliver(part, head, first);
    else await submittedWorkDone(this.#gpu);
    for (const slice of slices) {
      await this.#submit(recording, [], ids.length, slice, signal);
      await this.#deliver(part, slice, first);
    }
    this.#pacer.measured(ids.length, body.length, performance.now() - started);
  }

  /** Rows [firstRow, tokens) in pieces that the logits buffer holds. */
  #slices(firstRow: number, tokens: number): Slice[] {
    const slices: Slice[] = [];
    for (let row = firstRow; row < tokens; row += this.#scratch.headRows) {
      slices.push({ row, rows: Math.min(this.#scratch.headRows, tokens - row) });
    }
    return slices;
  }

  /** One submit where that is short enough; else several, with a wait and a look at the signal between them. */
  async #submit(
    recording: Recordings,
    sections: readonly Section[],
    tokens: number,
    slice: Slice | undefined,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { device } = this.#gpu;
    if (slice) device.queue.writeBuffer(this.#scratch.headStep, 0, packStep({ tokens: slice.rows, firstRow: slice.row }));
    const perSubmit = this.#pacer.sectionsPerSubmit(tokens, sections.length);
    for (let i = 0; i < Math.max(1, sections.length); i += perSubmit) {
      throwIfAborted(signal);
      const isLast = i + perSubmit >= sections.length;
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      for (const section of sections.slice(i, i + perSubmit)) encode(pass, section.dispatches, tokens);
      if (isLast && slice) for (const { dispatches } of recording[modeOf(slice.rows)].head) encode(pass, dispatches, slice.rows);
      pass.end();
      if (isLast && slice) this.#readback.copyFrom(encoder, this.#scratch.logits, 0, this.#bytes(slice));
      device.queue.submit([encoder.finish()]);
      if (!isLast) await submittedWorkDone(this.#gpu);
    }
  }

  /** Waits for a slice also where nobody listens: a step is over when its work is. */
  async #deliver(part: StepPart, slice: Slice, firstToken: number): Promise<void> {
    const logits = await this.#readback.floats(this.#bytes(slice));
    part.onLogits?.(logits, firstToken + slice.row);
  }

  #bytes({ rows }: Slice): number {
    return rows * this.#config.vocabSize * 4;
  }
}

/** Rows [row, row + rows) of a chunk. */
type Slice = { row: number; rows: number };

const modeOf = (rows: number): Mode => (rows === 1 ? 'decode' : 'prefill');
