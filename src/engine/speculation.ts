/**
 * One token of a mixture whose experts are not all there. The GPU computes all of it with those that are, and says afterwards which ones
 * were missing; these are fetched, for all layers at once, and the token goes on from the first layer that missed one. What later layers
 * chose without some expert is nearly what they will choose with it, so few of them miss again. Where none is missing that is one wait for
 * the CPU, and the result is that of a run with all experts: every layer was computed at last from what it should have read.
 */
import { throwIfAborted } from '../errors';
import type { Gpu } from '../gpu/device';
import { Readback } from '../gpu/readback';
import type { Section } from '../model/recorder';
import { picksStride, savedStride } from '../plan/shapes';
import type { MixtureParts } from './mixtures';

/**
 * Where more of the choices miss than this, what a token chooses without its experts is a poor guess, and fetching wrong ones costs more than
 * asking layer by layer: on an H200 with files that were read at 3 GB/s, 35B-A3B under 4 GB (86 % missed) gave 4.1 tokens/s so and 7.2 asking.
 */
export const mostMisses = 0.25;

export type Speculated = {
  sections: readonly Section[];
  /** Sections between two submits. */
  perSubmit: number;
  signal: AbortSignal | undefined;
};

export class Speculation {
  readonly #parts: MixtureParts;
  readonly #picks: Readback;

  constructor(gpu: Gpu, parts: MixtureParts) {
    this.#parts = parts;
    this.#picks = new Readback(gpu, 'layer picks readback', parts.shape.layers * picksStride);
  }

  /** The residual stream after `sections`; everything is submitted then. State is read from one slot and written to another. */
  async run({ sections, perSubmit, signal }: Speculated): Promise<void> {
    const { experts } = this.#parts;
    let first = 0;
    experts.begin();
    for (;;) {
      throwIfAborted(signal);
      experts.flush();
      this.#encode(sections.slice(first), perSubmit, first > 0);
      const choices = await this.#choices();
      const missing = choices.filter(({ layer, away }) => away > 0 && layer >= layerOf(sections[first]));
      if (missing.length === 0) return experts.settle(choices);
      const [{ layer }] = missing as [(typeof missing)[0]];
      await experts.bringAhead(choices.slice(layer), signal);
      first = sections.findIndex(({ mixture }) => mixture?.layer === layer);
    }
  }

  #encode(sections: readonly Section[], perSubmit: number, again: boolean): void {
    const { batches, scratch, shape } = this.#parts;
    if (again) {
      const byteOffset = layerOf(sections[0]) * savedStride(shape.hiddenSize);
      batches.copy(scratch.savedHidden, byteOffset, scratch.hidden, 0, shape.hiddenSize * 4);
    }
    for (const { dispatches } of sections) {
      if (batches.sections >= perSubmit) batches.submit();
      batches.run(dispatches, 1);
    }
  }

  /** What every layer chose; `away`: how many of them had no slot. */
  async #choices(): Promise<{ layer: number; picks: number[]; away: number }[]> {
    const { batches, scratch, shape, experts } = this.#parts;
    const bytes = shape.layers * picksStride;
    this.#picks.copyFrom(batches.encoder(), scratch.layerPicks, 0, bytes);
    batches.submit();
    batches.forget();
    experts.counts.decode.syncs += 1;
    const { buffer, byteOffset } = await this.#picks.floats(bytes);
    return Array.from({ length: shape.layers }, (_, layer) => {
      const row = new Uint32Array(buffer, byteOffset + layer * picksStride, shape.chosen + 1);
      return { layer, picks: [...row.subarray(0, shape.chosen)], away: row[shape.chosen]! };
    });
  }
}

/** 0 where a token begins. */
const layerOf = (section: Section | undefined): number => section?.mixture?.layer ?? 0;
