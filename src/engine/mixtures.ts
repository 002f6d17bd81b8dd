/** A mixture's dispatches, with its experts in their slots by the time that they are read. */
import type { Gpu } from '../gpu/device';
import { Readback } from '../gpu/readback';
import type { Section } from '../model/recorder';
import type { Scratch } from '../model/scratch';
import { picksStride } from '../plan/shapes';
import type { ExpertCache } from '../stream/expert_cache';
import type { Batches } from './batch';
import { modeOf } from './passes';

/** `shape` of the model. */
export type MixtureParts = {
  experts: ExpertCache;
  scratch: Scratch;
  batches: Batches;
  shape: { chosen: number; hiddenSize: number; layers: number };
};

export class Mixtures {
  readonly #parts: MixtureParts;
  readonly #picks: Readback;

  constructor(gpu: Gpu, parts: MixtureParts) {
    this.#parts = parts;
    this.#picks = new Readback(gpu, 'picks readback', parts.scratch.picks.size);
  }

  /**
   * Asks the GPU which experts were chosen and computes those that fit the slots at a time.
   * @throws what ExpertCache.bring throws; EngineError 'device-lost'.
   */
  async run(
    { layer, choose, read, sum }: NonNullable<Section['mixture']>,
    tokens: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { experts, batches } = this.#parts;
    batches.run(choose, tokens);
    const mode = modeOf(tokens);
    experts.counts[mode].syncs += 1;
    const groups = experts.groups(layer, await this.#choices(layer, tokens));
    for (const group of groups) {
      await experts.bring(layer, group, { mode, rest: groups.length > 1, signal });
      batches.run(read, tokens);
      batches.submit();
      await batches.room();
    }
    batches.run(sum, tokens);
  }

  /** Of one token each layer has a place of its own. */
  async #choices(layer: number, tokens: number): Promise<Uint32Array> {
    const { scratch, batches, shape } = this.#parts;
    const bytes = tokens * shape.chosen * 4;
    if (tokens === 1) this.#picks.copyFrom(batches.encoder(), scratch.layerPicks, layer * picksStride, bytes);
    else this.#picks.copyFrom(batches.encoder(), scratch.picks, 0, bytes);
    batches.submit();
    const { buffer, byteOffset, length } = await this.#picks.floats(bytes);
    batches.forget(); // all before it is done: what may be under way is for the experts' reads to go beside
    return new Uint32Array(buffer, byteOffset, length);
  }
}
