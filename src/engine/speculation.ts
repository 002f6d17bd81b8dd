/**
 * One token of a mixture whose experts are not all there. The GPU computes it with those that are, some layers at a time, and says of each
 * layer what it chose and how many of these were missing. While missing ones are fetched the token runs on: what later layers choose without
 * some expert is nearly what they will choose with it, so theirs are fetched too. Then it goes on from the first layer that missed one.
 * The result is that of a run with all experts: every layer was computed at last from what it should have read.
 */
import { EngineError, throwIfAborted, unlessAborted } from '../errors';
import type { Gpu } from '../gpu/device';
import { Readback } from '../gpu/readback';
import type { Section } from '../model/recorder';
import { picksStride, savedStride } from '../plan/shapes';
import type { LayerPicks } from '../stream/expert_cache';
import type { MixtureParts } from './mixtures';

/**
 * Where more of the choices miss than this and few of the experts that were fetched ahead are chosen in the end, what a token chooses without
 * its experts is a poor guess, and fetching wrong ones costs more than asking layer by layer. Uniform routing is such a case: on an H200 with
 * files that were read at 3 GB/s, 35B-A3B under 4 GB (86 % missed) gave 4.1 tokens/s with all fetched ahead and 7.2 asking.
 */
const mostMisses = 0.25;
const leastGuessed = 0.6;

/** Layers that are told of at a time: few enough that reads begin soon, and what is computed in vain is little. */
const segmentLayers = 4;
/** Segments in the queue: one is computed, one waits. */
const segmentsInFlight = 2;
/** Reads that wait: with as many the disk is busy, and the rest of the token may as well say what it wants. */
const busyBacklog = 8;

export type Speculated = {
  sections: readonly Section[];
  /** Sections between two submits. */
  perSubmit: number;
  signal: AbortSignal | undefined;
  /** How long some sections took, where the GPU had no pause. */
  onMeasured(sections: number, ms: number): void;
};

/** What a layer chose; `away`: how many of these had no slot. */
type Choice = LayerPicks & { away: number };
/** Sections up to the mixture of the last of some layers. */
type Segment = { sections: readonly Section[]; firstLayer: number; endLayer: number };
/** `behind`: another was still under way when it was queued. */
type Asked = { attempt: number; behind: boolean; sections: number; choices: Promise<Choice[]>; arrived: Choice[] | undefined };

export class Speculation {
  readonly #parts: MixtureParts;
  readonly #layers: number;
  readonly #free: Readback[];

  constructor(gpu: Gpu, parts: MixtureParts) {
    this.#parts = parts;
    const { layers } = parts.shape;
    const readbacks = Math.min(segmentsInFlight, layers);
    this.#layers = Math.max(1, Math.min(segmentLayers, Math.floor(layers / readbacks)));
    this.#free = Array.from(
      { length: readbacks },
      (_, i) => new Readback(gpu, `layer picks readback ${i}`, this.#layers * picksStride),
    );
  }

  /** Whether tokens lately chose without their experts nearly what they chose with them. */
  get pays(): boolean {
    const { missShare, guessShare } = this.#parts.experts;
    // Without any hit so far there is nothing to guess with: the first token asks layer by layer.
    return missShare <= mostMisses || (missShare < 1 && guessShare >= leastGuessed);
  }

  /**
   * The residual stream after `sections`; everything is submitted then. State is read from one slot and written to another.
   * @throws what a read of an expert throws; EngineError 'device-lost'; AbortError.
   */
  async run({ sections, perSubmit, signal, onMeasured }: Speculated): Promise<void> {
    const { experts, shape } = this.#parts;
    experts.begin();
    const token = new Token(segmentsOf(sections, this.#layers), shape.layers);
    try {
      while (!token.done) {
        throwIfAborted(signal);
        const begun = this.#free.length > 0 && this.#next(token, perSubmit);
        if (!begun) await unlessAborted(this.#something(token, onMeasured), signal);
      }
    } finally {
      experts.wantNothing();
      await Promise.allSettled(token.asked.map(({ choices }) => choices)); // their buffers are the next token's
    }
    experts.counts.decode.syncs += 1 + token.attempt;
    experts.settle(token.choices);
  }

  /** Queues a segment, if there is one that is worth it. */
  #next(token: Token, perSubmit: number): boolean {
    const { experts } = this.#parts;
    const { missed } = token;
    const isBusy = token.segment !== undefined && experts.backlog >= busyBacklog && token.isNew;
    if (missed && !isBusy && experts.has(missed)) token.goBack();
    const { segment } = token;
    if (!segment || !this.#isReady(token, segment)) return false;
    experts.flush();
    const from = token.takeStart();
    this.#encode(segment, perSubmit, from);
    token.ask(this.#ask(segment, from ?? segment.firstLayer));
    return true;
  }

  /** Whether it is likely to find its experts; behind one that missed, whether it tells anything new. */
  #isReady(token: Token, { endLayer }: Segment): boolean {
    const { experts } = this.#parts;
    if (token.missed) return token.isNew;
    for (let layer = token.start; layer < Math.min(endLayer, token.wantedEnd); layer++) {
      const choice = token.choiceOf(layer);
      if (choice && !experts.has(choice) && experts.failureOf(choice) === undefined) return false;
    }
    return true;
  }

  #encode({ sections }: Segment, perSubmit: number, from: number | undefined): void {
    const { batches, scratch, shape } = this.#parts;
    let rest = sections;
    if (from !== undefined) {
      batches.copy(scratch.savedHidden, from * savedStride(shape.hiddenSize), scratch.hidden, 0, shape.hiddenSize * 4);
      rest = sections.slice(sections.findIndex(({ mixture }) => mixture?.layer === from));
    }
    for (const { dispatches } of rest) {
      if (batches.sections >= perSubmit) batches.submit();
      batches.run(dispatches, 1);
    }
  }

  /** Submits, and asks what the layers of the segment chose. */
  #ask({ sections, endLayer }: Segment, firstLayer: number): Omit<Asked, 'attempt' | 'behind'> {
    const { batches, scratch } = this.#parts;
    const readback = this.#free.pop()!;
    const count = endLayer - firstLayer;
    if (count > 0) readback.copyFrom(batches.encoder(), scratch.layerPicks, firstLayer * picksStride, count * picksStride);
    batches.submit();
    batches.forget();
    const choices = count > 0 ? this.#read(readback, firstLayer, count) : Promise.resolve([]);
    const given = choices.finally(() => this.#free.push(readback));
    given.catch(() => {}); // reported to whoever waits for it
    return { sections: sections.length, choices: given, arrived: undefined };
  }

  async #read(readback: Readback, firstLayer: number, count: number): Promise<Choice[]> {
    const { chosen } = this.#parts.shape;
    const { buffer, byteOffset } = await readback.floats(count * picksStride);
    return Array.from({ length: count }, (_, i) => {
      const row = new Uint32Array(buffer, byteOffset + i * picksStride, chosen + 1);
      return { layer: firstLayer + i, picks: [...row.subarray(0, chosen)], away: row[chosen]! };
    });
  }

  /** Waits for what a segment chose, or for an expert. */
  async #something(token: Token, onMeasured: Speculated['onMeasured']): Promise<void> {
    const { experts } = this.#parts;
    const [oldest] = token.asked;
    const arrival = experts.arrival();
    const waits = [...(oldest ? [oldest.choices] : []), ...(arrival ? [arrival] : [])];
    if (waits.length === 0)
      throw failureOf(token, experts) ?? new EngineError('internal', 'A token waits for experts that nobody reads.');
    await Promise.race(waits);
    let learned = false;
    for (let asked = token.asked[0]; asked?.arrived; asked = token.asked[0]) {
      const ms = token.learn(asked.arrived);
      if (asked.behind) onMeasured(asked.sections, ms);
      learned = true;
    }
    if (learned) token.wantedEnd = experts.want(token.wanted);
    const failure = failureOf(token, experts);
    if (failure !== undefined) throw failure;
  }
}

function failureOf({ missed }: Token, experts: MixtureParts['experts']): unknown {
  return missed && experts.failureOf(missed);
}

/** How far a token is. */
class Token {
  readonly asked: Asked[] = [];
  /** Times that it went back. */
  attempt = 0;
  /** The first layer that missed an expert since then, with all that it chose. */
  missed: Choice | undefined;
  /** Layers before this one are told of by `want`. */
  wantedEnd = Number.POSITIVE_INFINITY;
  readonly #segments: readonly Segment[];
  readonly #choices: (Choice | undefined)[];
  /** The next segment, and the layer whose mixture it begins with where the token went back to it. */
  #index = 0;
  #from: number | undefined;
  /** Layers before this one are computed as they should be. */
  #sure = 0;
  #learnedMs = performance.now();

  constructor(segments: readonly Segment[], layers: number) {
    this.#segments = segments;
    this.#choices = Array.from({ length: layers });
  }

  get done(): boolean {
    return this.segment === undefined && this.asked.length === 0 && this.missed === undefined;
  }

  get choices(): Choice[] {
    return this.#choices as Choice[];
  }

  get segment(): Segment | undefined {
    return this.#segments[this.#index];
  }

  /** The first layer of the next segment that will be computed. */
  get start(): number {
    return this.#from ?? this.segment!.firstLayer;
  }

  /** Nothing is known yet of what the next segment chooses. */
  get isNew(): boolean {
    const { segment } = this;
    return segment !== undefined && segment.endLayer > segment.firstLayer && this.#choices[segment.endLayer - 1] === undefined;
  }

  choiceOf(layer: number): Choice | undefined {
    return this.#choices[layer];
  }

  /** What the layers that are not sure yet chose when they were last asked. */
  get wanted(): LayerPicks[] {
    const known: Choice[] = [];
    for (let layer = this.#sure; this.#choices[layer]; layer++) known.push(this.#choices[layer]!);
    return known;
  }

  goBack(): void {
    const { layer } = this.missed!;
    this.#index = this.#segments.findIndex(({ endLayer }) => layer < endLayer);
    this.#from = layer;
    this.missed = undefined;
    this.attempt += 1;
  }

  takeStart(): number | undefined {
    const from = this.#from;
    this.#from = undefined;
    this.#index += 1;
    return from;
  }

  ask(asked: Omit<Asked, 'attempt' | 'behind'>): void {
    const own = { ...asked, attempt: this.attempt, behind: this.asked.length > 0 };
    this.asked.push(own);
    own.choices.then(
      (choices) => {
        own.arrived = choices;
      },
      () => {},
    );
  }

  /** Takes the answer to the oldest question in. @returns milliseconds since the one before. */
  learn(choices: readonly Choice[]): number {
    const { attempt } = this.asked.shift()!;
    const isLatest = attempt === this.attempt;
    for (const choice of choices) {
      if (choice.layer < this.#sure) continue;
      this.#choices[choice.layer] = choice;
      if (!isLatest || this.missed) continue;
      if (choice.away > 0) this.missed = choice;
      else this.#sure = choice.layer + 1;
    }
    const before = this.#learnedMs;
    this.#learnedMs = performance.now();
    return this.#learnedMs - before;
  }
}

function segmentsOf(sections: readonly Section[], layers: number): Segment[] {
  const segments: Segment[] = [];
  let begun: Section[] = [];
  let firstLayer = 0;
  for (const section of sections) {
    begun.push(section);
    const layer = section.mixture?.layer;
    if (layer === undefined || layer + 1 - firstLayer < layers) continue;
    segments.push({ sections: begun, firstLayer, endLayer: layer + 1 });
    begun = [];
    firstLayer = layer + 1;
  }
  const last = begun.at(-1)?.mixture?.layer;
  if (begun.length > 0) segments.push({ sections: begun, firstLayer, endLayer: last === undefined ? firstLayer : last + 1 });
  return segments;
}
