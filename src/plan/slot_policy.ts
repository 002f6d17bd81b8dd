/** Which experts lie in the slots of a slab, and which one makes room for another: the least recently used. Pure bookkeeping. */
import { EngineError } from '../errors';

export class SlotPolicy {
  readonly slots: number;
  /** Slot by key, the least recently used first. */
  readonly #used = new Map<number, number>();
  readonly #free: number[];

  constructor(slots: number) {
    this.slots = slots;
    this.#free = Array.from({ length: slots }, (_, i) => slots - 1 - i);
  }

  slotOf(key: number): number | undefined {
    return this.#used.get(key);
  }

  /** The key is used now. */
  touch(key: number): void {
    const slot = this.#used.get(key);
    if (slot === undefined) return;
    this.#used.delete(key);
    this.#used.set(key, slot);
  }

  /** A slot for a key that has none; nothing of `keep` makes room. @throws EngineError 'internal' if nothing else is left. */
  take(key: number, keep: ReadonlySet<number>): { slot: number; evicted: number | undefined } {
    const free = this.#free.pop();
    if (free !== undefined) {
      this.#used.set(key, free);
      return { slot: free, evicted: undefined };
    }
    for (const [evicted, slot] of this.#used) {
      if (keep.has(evicted)) continue;
      this.#used.delete(evicted);
      this.#used.set(key, slot);
      return { slot, evicted };
    }
    throw new EngineError('internal', `${keep.size} experts are wanted at once in ${this.slots} slots.`);
  }

  /** Nothing is in the key's slot. */
  drop(key: number): void {
    const slot = this.#used.get(key);
    if (slot === undefined) return;
    this.#used.delete(key);
    this.#free.push(slot);
  }
}
