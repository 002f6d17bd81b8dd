/**
 * Which experts lie in the slots of a slab, and which one makes room for another: of a layer that has its share of the slots, the one used
 * least, where a use counts half as much after some tokens. Text comes back to the same experts and forgets them slowly, so this misses less
 * than the least recently used of each layer on equal slots (test/plan/slot_policy.test.ts replays traces). Pure bookkeeping.
 */
import { EngineError } from '../errors';

/** Uses of a layer after which an earlier one counts half: a dozen tokens of 8. Longer ones keep too much when the subject changes. */
const halfLife = 100;
/** Far from where numbers end. */
const mostWeight = 2 ** 500;

/** Keys that make no room. */
export type Keep = { has(key: number): boolean };

export class SlotPolicy {
  readonly slots: number;
  readonly #layerOf: (key: number) => number;
  readonly #share: number;
  readonly #slotOf = new Map<number, number>();
  readonly #byLayer = new Map<number, Set<number>>();
  readonly #free: number[];
  /** Uses of every key that was ever here, the older the less; of each layer, what the next use weighs. */
  readonly #used = new Map<number, number>();
  readonly #weight = new Map<number, number>();

  /** `layers` that share the slots; `layerOf` a key. */
  constructor(slots: number, layers: number, layerOf: (key: number) => number) {
    this.slots = slots;
    this.#layerOf = layerOf;
    this.#share = slots / layers;
    this.#free = Array.from({ length: slots }, (_, i) => slots - 1 - i);
  }

  slotOf(key: number): number | undefined {
    return this.#slotOf.get(key);
  }

  /** The key is used now, wherever it lies. */
  touch(key: number): void {
    const layer = this.#layerOf(key);
    const weight = (this.#weight.get(layer) ?? 1) * 2 ** (1 / halfLife);
    this.#weight.set(layer, weight);
    this.#used.set(key, (this.#used.get(key) ?? 0) + weight);
    if (weight > mostWeight) this.#scaleDown(layer);
  }

  /** A slot for a key that has none; nothing of `keep` makes room. @throws EngineError 'internal' if nothing else is left. */
  take(key: number, keep: Keep): { slot: number; evicted: number | undefined } {
    const free = this.#free.pop();
    if (free !== undefined) {
      this.#put(key, free);
      return { slot: free, evicted: undefined };
    }
    const evicted = this.#victim(this.#layerOf(key), keep);
    if (evicted === undefined)
      throw new EngineError('internal', `All of ${this.slots} slots hold experts that are wanted at once.`);
    const slot = this.#slotOf.get(evicted)!;
    this.#remove(evicted);
    this.#put(key, slot);
    return { slot, evicted };
  }

  /** Nothing is in the key's slot. */
  drop(key: number): void {
    const slot = this.#slotOf.get(key);
    if (slot === undefined) return;
    this.#remove(key);
    this.#free.push(slot);
  }

  /** Of the layer itself where it has its share, else of the one that has most; of any where all of those are to be kept. */
  #victim(layer: number, keep: Keep): number | undefined {
    const own = this.#byLayer.get(layer);
    if (own && own.size >= this.#share) {
      const least = this.#leastUsed(own, keep);
      if (least !== undefined) return least;
    }
    const layers = [...this.#byLayer.values()].sort((a, b) => b.size - a.size);
    for (const keys of layers) {
      const least = this.#leastUsed(keys, keep);
      if (least !== undefined) return least;
    }
    return undefined;
  }

  #leastUsed(keys: ReadonlySet<number>, keep: Keep): number | undefined {
    let least: number | undefined;
    let uses = Number.POSITIVE_INFINITY;
    for (const key of keys) {
      const own = this.#used.get(key) ?? 0;
      if (own < uses && !keep.has(key)) [least, uses] = [key, own];
    }
    return least;
  }

  #put(key: number, slot: number): void {
    const layer = this.#layerOf(key);
    this.#slotOf.set(key, slot);
    const keys = this.#byLayer.get(layer) ?? new Set();
    keys.add(key);
    this.#byLayer.set(layer, keys);
  }

  #remove(key: number): void {
    this.#slotOf.delete(key);
    this.#byLayer.get(this.#layerOf(key))?.delete(key);
  }

  #scaleDown(layer: number): void {
    this.#weight.set(layer, 1);
    for (const [key, uses] of this.#used) if (this.#layerOf(key) === layer) this.#used.set(key, uses / mostWeight);
  }
}
