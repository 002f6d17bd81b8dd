/**
 * The slots of one layer's keys: what each is worth to keep, and what as many slots would hold if the least recently used made room. Worth is
 * how often a key was used within a token or two, and within some fifty, added up: neighbouring tokens repeat themselves, and a text comes
 * back to what it is about. One measure alone (a use counts half after 100 others) misses 7 % more in traces with the locality of real text
 * where a quarter of the experts has slots.
 */

/** Of the weight of one use to that of the next: an earlier one counts half after 12 uses of the layer, and after 400. */
const latelyGrowth = 2 ** (1 / 12);
const longerGrowth = 2 ** (1 / 400);
/** Far from where numbers end. */
const mostWeight = 2 ** 500;

/** Keys that make no room, by name. */
export type Keep = { has(name: number): boolean };

export type Key = {
  readonly name: number;
  readonly layer: SlotLayer;
  slot: number | undefined;
  /** Where it stands in its layer's list. */
  at: number;
  lately: number;
  longer: number;
  /** Whether the least recently used of the layer would hold it; which of those were used just before and after it. */
  recalled: boolean;
  older: Key | undefined;
  newer: Key | undefined;
  /** 'due': used before it had a slot. 'early': has one and was not used since. */
  state: 'settled' | 'due' | 'early';
  /** Which of the two is used first says who was right to have the other one make room. */
  duel: { rival: Key; won: boolean } | undefined;
};

/** Of all layers together: keys without a slot that the least recently used would hold. */
export type Tally = { lacking: number };

export class SlotLayer {
  readonly #held: Key[] = [];
  readonly #capacity: number;
  readonly #tally: Tally;
  /** What the least recently used would hold, a list in the order of use. */
  #recalled = 0;
  #oldest: Key | undefined;
  #newest: Key | undefined;
  readonly #all: Key[] = [];
  #latelyWeight = 1;
  #longerWeight = 1;

  constructor(capacity: number, tally: Tally) {
    this.#capacity = capacity;
    this.#tally = tally;
  }

  get size(): number {
    return this.#held.length;
  }

  key(name: number): Key {
    const scores = { lately: 0, longer: 0 };
    const key: Key = {
      ...{ name, layer: this, slot: undefined, at: 0, ...scores },
      ...{ recalled: false, older: undefined, newer: undefined, state: 'settled', duel: undefined },
    };
    this.#all.push(key);
    return key;
  }

  weigh(key: Key): void {
    this.#latelyWeight *= latelyGrowth;
    this.#longerWeight *= longerGrowth;
    key.lately += this.#latelyWeight;
    key.longer += this.#longerWeight;
    if (this.#latelyWeight > mostWeight) this.#scaleDown();
  }

  put(key: Key, slot: number): void {
    key.slot = slot;
    key.at = this.#held.push(key) - 1;
    if (key.recalled) this.#tally.lacking -= 1;
  }

  remove(key: Key): void {
    const last = this.#held.pop()!;
    if (last !== key) {
      this.#held[key.at] = last;
      last.at = key.at;
    }
    key.slot = undefined;
    if (key.recalled) this.#tally.lacking += 1;
    if (key.state === 'early' && key.recalled) this.#forget(key);
    key.state = 'settled';
  }

  /** A use of the key, as the least recently used sees it. @returns whether it would have been there. */
  recall(key: Key, keep: Keep): boolean {
    const there = key.recalled;
    if (there) this.#unlink(key);
    else {
      if (this.#recalled >= this.#capacity) this.#forgetOldest(keep);
      this.#recalled += 1;
      key.recalled = true;
      if (key.slot === undefined) this.#tally.lacking += 1;
    }
    this.#append(key);
    return there;
  }

  /** After a token: where it used more keys than there is room for, the last ones stay. */
  trim(): void {
    while (this.#recalled > this.#capacity) this.#forget(this.#oldest!);
  }

  /** The keys that are worth least: of all, and of those that the least recently used would not hold. */
  least(keep: Keep): { ofAll: Key | undefined; ofOthers: Key | undefined } {
    const [perLately, perLonger] = [1 / this.#latelyWeight, 1 / this.#longerWeight];
    let [ofAll, ofOthers]: (Key | undefined)[] = [];
    let [least, leastOther] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
    for (const key of this.#held) {
      const worth = key.lately * perLately + key.longer * perLonger;
      const other = !key.recalled || key.state === 'early';
      if (!(worth < least || (other && worth < leastOther)) || keep.has(key.name)) continue;
      if (worth < least) [ofAll, least] = [key, worth];
      if (other) [ofOthers, leastOther] = [key, worth];
    }
    return { ofAll, ofOthers };
  }

  #forgetOldest(keep: Keep): void {
    let key = this.#oldest;
    while (key && keep.has(key.name)) key = key.newer;
    if (key) this.#forget(key);
  }

  #forget(key: Key): void {
    this.#unlink(key);
    this.#recalled -= 1;
    key.recalled = false;
    if (key.slot === undefined) this.#tally.lacking -= 1;
  }

  #append(key: Key): void {
    key.older = this.#newest;
    key.newer = undefined;
    if (this.#newest) this.#newest.newer = key;
    else this.#oldest = key;
    this.#newest = key;
  }

  #unlink(key: Key): void {
    if (key.older) key.older.newer = key.newer;
    else this.#oldest = key.newer;
    if (key.newer) key.newer.older = key.older;
    else this.#newest = key.older;
  }

  #scaleDown(): void {
    for (const key of this.#all) {
      key.lately /= this.#latelyWeight;
      key.longer /= this.#longerWeight;
    }
    this.#latelyWeight = 1;
    this.#longerWeight = 1;
  }
}
