/**
 * Which experts lie in the slots of a slab, and which one makes room for another: of a layer that has its share of the slots, the one that
 * is worth least to keep (`slot_layer.ts`), or else the one that would have gone if the least recently used of each layer made room in
 * equal slots. What the latter would hold is kept beside, names only, and the misses of both are counted, so that this never falls behind.
 *
 * To let an expert go that the other would hold is a stake: whatever the text, it costs at most one miss. What was gained so far may be
 * staked, and besides it one miss for each layer, once, where those that were worth little came back later than those that the other would
 * have let go. So no text, however it is made, ever misses more than that one miss for each layer beyond the least recently used; a policy
 * without such a loan would be the same as the other. Two things are not in it: guesses that nobody chose, and shares of fewer slots than a
 * token chooses, where what the layer under way has besides its share is some other layer's (2.5 % more at the worst with 40 layers, as
 * many in traces of real locality). test/plan/slot_policy.test.ts replays traces: none misses more from its first token on, and those of
 * text fewer. Pure bookkeeping.
 */
import { EngineError } from '../errors';
import { type Keep, type Key, SlotLayer, type Tally } from './slot_layer';

/** Of each layer, in misses: what may be staked before anything was gained, and what is kept of gains: a text that changes costs no more. */
const loan = 1;
const mostGained = 4;
/**
 * Duels of each layer that `#won` goes back over, and by how many standard deviations of chance more must be won than lost to stake the loan,
 * and what was gained.
 */
const duelsRemembered = 100;
const toBorrow = 4;
const toStake = 1;

export type SlotShape = { slots: number; layers: number; chosen: number };

export class SlotPolicy {
  readonly slots: number;
  readonly #layerOf: (name: number) => number;
  readonly #share: number;
  /** Slots of a layer that the least recently used fills. */
  readonly #recalled: number;
  readonly #byNumber = new Map<number, SlotLayer>();
  readonly #layers: SlotLayer[] = [];
  readonly #tally: Tally = { lacking: 0 };
  readonly #keys = new Map<number, Key>();
  readonly #free: number[];
  readonly #loan: number;
  readonly #most: number;
  /** Of a duel when the next one is decided. */
  readonly #left: number;
  /** The loan, and misses of the least recently used less those here. */
  #gained: number;
  /** Duels that were decided, and won less lost; the older the less. */
  #duels = 0;
  #won = 0;

  /** `layers` that share the slots, of which a token uses `chosen` keys each; `layerOf` a key. */
  constructor({ slots, layers, chosen }: SlotShape, layerOf: (name: number) => number) {
    this.slots = slots;
    this.#layerOf = layerOf;
    this.#share = slots / layers;
    const lent = Math.max(0, chosen - this.#share); // to the layer whose turn it is, where shares are that small
    this.#recalled = Math.floor((slots - lent) / layers);
    this.#loan = loan * layers;
    this.#most = mostGained * layers;
    this.#left = 1 - 1 / (duelsRemembered * layers);
    this.#gained = this.#loan;
    this.#free = Array.from({ length: slots }, (_, i) => slots - 1 - i);
  }

  slotOf(name: number): number | undefined {
    return this.#keys.get(name)?.slot;
  }

  /** A token uses these keys of one layer now, wherever they lie. */
  use(picks: readonly number[]): void {
    const keep: Keep = { has: (name) => picks.includes(name) };
    for (const name of picks) {
      const key = this.#key(name);
      this.#decide(key);
      key.layer.weigh(key);
      if (!key.layer.recall(key, keep)) this.#gained += 1;
      key.state = key.slot === undefined ? 'due' : 'settled';
    }
    if (picks.length > 0) this.#key(picks[0]!).layer.trim();
    this.#gained = Math.min(this.#gained, this.#most + this.#tally.lacking);
  }

  /** A slot for a key that has none; nothing of `keep` makes room. @throws EngineError 'internal' if nothing else is left. */
  take(name: number, keep: Keep): { slot: number; evicted: number | undefined } {
    const key = this.#key(name);
    this.#miss(key, keep);
    const free = this.#free.pop();
    if (free !== undefined) {
      key.layer.put(key, free);
      return { slot: free, evicted: undefined };
    }
    const evicted = this.#victim(key, keep);
    if (evicted === undefined)
      throw new EngineError('internal', `All of ${this.slots} slots hold experts that are wanted at once.`);
    const slot = evicted.slot!;
    evicted.layer.remove(evicted);
    key.layer.put(key, slot);
    return { slot, evicted: evicted.name };
  }

  /** Nothing is in the key's slot. */
  drop(name: number): void {
    const key = this.#keys.get(name);
    if (key?.slot === undefined) return;
    this.#free.push(key.slot);
    key.layer.remove(key);
  }

  #key(name: number): Key {
    const known = this.#keys.get(name);
    if (known) return known;
    const key = this.#layer(this.#layerOf(name)).key(name);
    this.#keys.set(name, key);
    return key;
  }

  #layer(number: number): SlotLayer {
    const known = this.#byNumber.get(number);
    if (known) return known;
    const layer = new SlotLayer(this.#recalled, this.#tally);
    this.#byNumber.set(number, layer);
    this.#layers.push(layer);
    return layer;
  }

  /** What is fetched before it is used misses for the least recently used too, which holds it from then on. */
  #miss(key: Key, keep: Keep): void {
    this.#gained -= 1;
    if (key.state === 'due') {
      key.state = 'settled';
      return;
    }
    if (!key.layer.recall(key, keep)) this.#gained += 1;
    key.state = 'early';
  }

  /** Of the layer itself where it has its share, else of the one that has most; of any where all of those are to be kept. */
  #victim(key: Key, keep: Keep): Key | undefined {
    const stakes = this.#stakes(key);
    if (key.layer.size >= this.#share) {
      const least = this.#least(key.layer, keep, stakes);
      if (least !== undefined) return least;
    }
    const most = this.#layers.reduce((a, b) => (b.size > a.size ? b : a));
    const least = this.#least(most, keep, stakes);
    if (least !== undefined) return least;
    for (const layer of this.#layers.toSorted((a, b) => b.size - a.size)) {
      const least = this.#least(layer, keep, stakes);
      if (least !== undefined) return least;
    }
    return undefined;
  }

  /** Whether there is something to stake when the key will have come: what others would hold and is not here may miss any time. */
  #stakes(coming: Key): boolean {
    const left = this.#gained - this.#tally.lacking + (coming.recalled ? 1 : 0);
    return left >= 1 && this.#won > (left > this.#loan ? toStake : toBorrow) * Math.sqrt(this.#duels);
  }

  #least(layer: SlotLayer, keep: Keep, stakes: boolean): Key | undefined {
    const { ofAll, ofOthers } = layer.least(keep);
    if (ofAll && ofOthers && ofAll !== ofOthers) duel(ofOthers, ofAll);
    return stakes ? ofAll : (ofOthers ?? ofAll);
  }

  /** The key is used before its rival. */
  #decide(key: Key): void {
    if (!key.duel) return;
    this.#won = this.#left * this.#won + (key.duel.won ? 1 : -1);
    this.#duels = this.#left * this.#duels + 1;
    part(key);
  }
}

/** It is won if the first one is used before the second. */
function duel(first: Key, second: Key): void {
  part(first);
  part(second);
  first.duel = { rival: second, won: true };
  second.duel = { rival: first, won: false };
}

function part(key: Key): void {
  if (!key.duel) return;
  key.duel.rival.duel = undefined;
  key.duel = undefined;
}
