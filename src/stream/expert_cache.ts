/**
 * Experts in GPU memory: fetches the chosen ones that are not there into slots that others made room in, and tells the kernels where each
 * lies. A slot is overwritten by a copy that is queued after the compute that read it was submitted, which is the caller's part; so what a
 * pass computes does not depend on how many slots there are.
 */
import { EngineError, isAbort, throwIfAborted, unlessAborted } from '../errors';
import type { Gpu } from '../gpu/device';
import { absentSlot } from '../gpu/kernel';
import { type ExpertLayer, type ExpertPool, slabOf } from '../plan/experts';
import { expertTableStride } from '../plan/shapes';
import { SlotPolicy } from '../plan/slot_policy';
import type { Window } from '../plan/windows';
import { type ExpertCounts, type Mode, noCounts } from './expert_counts';
import { type Sources, WindowFiller } from './fill';
import type { UploadPath } from './upload';
import { WindowUpload } from './window_upload';

/** Choices of a layer that `missShare` goes back over: some tokens. */
const choicesRemembered = 64;
/** Fetches that `guessShare` goes back over. */
const guessesRemembered = 256;
/** Layers asked one by one until what was learned of guesses is as good as forgotten, so that they get another try. */
const guessesForgotten = 4096;
/** Of a read that fails; HTTP has its own within one. */
const tries = 3;

/** Experts that a layer chose for one token. */
export type LayerPicks = { layer: number; picks: readonly number[] };

/** `rest`: others of the layer wait for their turn. */
export type Bring = { mode: Mode; rest: boolean; signal: AbortSignal | undefined };

export type ExpertCacheParts = {
  pool: ExpertPool;
  layers: readonly ExpertLayer[];
  slabs: readonly GPUBuffer[];
  /** The table, a row of `expertTableStride` for each layer. */
  table: GPUBuffer;
  upload: UploadPath;
  sources: Sources;
  lanes: number;
};

export class ExpertCache {
  /** Of prompts, and of tokens after them. */
  readonly counts: Record<Mode, ExpertCounts> = { prefill: noCounts(), decode: noCounts() };
  /** `hits` and `misses` of decoding, layer by layer. */
  readonly byLayer: { hits: number[]; misses: number[] };
  readonly #gpu: Gpu;
  readonly #parts: ExpertCacheParts;
  readonly #windows: WindowUpload;
  /** What to read, by expert. */
  readonly #known = new Map<number, readonly Window[]>();
  readonly #experts: number;
  /** Of a layer and token. */
  readonly #chosen: number;
  readonly #policies: SlotPolicy[];
  /** On their way: whoever wants one waits for the same read. */
  readonly #coming = new Map<number, Promise<void>>();
  /** Where every expert of each layer lies, as it will be told to the GPU before the next token; and layers where that differs. */
  readonly #rows: Uint32Array<ArrayBuffer>[];
  readonly #stale = new Set<number>();
  /** What the token under way had to wait for; whether it was fetched before its layer was reached. */
  readonly #fetched = new Map<number, { ahead: boolean }>();
  /** Its next layer, what it wants and nobody reads yet, in that order; what must not make room; what could not be read. */
  #first: number | undefined;
  #ahead: number[] = [];
  #keep: ReadonlySet<number> = new Set();
  readonly #failed = new Map<number, unknown>();
  readonly #lanes: WindowFiller[];
  readonly #waiting: ((filler: WindowFiller) => void)[] = [];
  readonly #stop = new AbortController();
  #complete = false;
  /** Share of choices that lately missed; all of them before the first token. */
  #missShare = 1;
  /** Share of experts fetched before their layer was reached that were chosen in the end. */
  #guessShare = 1;

  constructor(gpu: Gpu, parts: ExpertCacheParts) {
    this.#gpu = gpu;
    this.#parts = parts;
    this.#windows = new WindowUpload(parts.upload, undefined);
    this.#experts = parts.layers[0]!.count;
    this.#chosen = parts.pool.perToken / parts.layers.length;
    this.byLayer = { hits: parts.layers.map(() => 0), misses: parts.layers.map(() => 0) };
    const layerOf = (key: number) => Math.floor(key / this.#experts);
    this.#policies = parts.pool.slabs.map(
      ({ slots, layers }) => new SlotPolicy({ slots, layers, chosen: this.#chosen }, layerOf),
    );
    this.#rows = parts.layers.map((_, layer) => {
      this.#stale.add(layer);
      return new Uint32Array(this.#experts).fill(absentSlot);
    });
    this.#lanes = Array.from({ length: parts.lanes }, () => new WindowFiller(parts.sources));
  }

  /** Every expert lies in its slot: nobody needs to ask. */
  get complete(): boolean {
    return this.#complete;
  }

  /** Fetches all, for a pool with a slot for each. @throws what a read throws. */
  async load(onBytes: (bytes: number) => void = () => {}): Promise<void> {
    const nothing = new Set<number>();
    const failures: unknown[] = [];
    for (const [layer, { bytes }] of this.#parts.layers.entries()) {
      for (let expert = 0; expert < this.#experts && failures.length === 0; expert++) {
        await this.#fetch(layer, expert, nothing, undefined);
        const coming = this.#coming.get(this.#key(layer, expert));
        coming?.then(
          () => onBytes(bytes),
          (error: unknown) => failures.push(error),
        );
      }
    }
    await Promise.allSettled(this.#coming.values());
    if (failures.length > 0) throw failures[0];
    this.flush();
    this.#complete = true;
  }

  /** Every expert is in the slot of its number: whoever calls this put it there. */
  filled(): void {
    const { pool, layers } = this.#parts;
    for (const layer of layers.keys()) {
      const first = (layer - pool.slabs[slabOf(pool, layer)]!.firstLayer) * this.#experts;
      this.#write(
        layer,
        Uint32Array.from(this.#all(), (expert) => first + expert),
      );
    }
    this.#complete = true;
  }

  /** Of decoded tokens lately, the share of choices whose expert was not there. */
  get missShare(): number {
    return this.#missShare;
  }

  #count(mode: Mode, layer: number, kind: 'hits' | 'misses'): void {
    this.counts[mode][kind] += 1;
    if (mode === 'decode') this.byLayer[kind][layer]! += 1;
  }

  /** Of what decoded tokens lately fetched before its layer was reached, the share that the layer then chose. */
  get guessShare(): number {
    return this.#guessShare;
  }

  #learn(misses: number, choices: number): void {
    const weight = Math.min(1, choices / (this.#parts.layers.length * choicesRemembered));
    this.#missShare += weight * (misses / choices - this.#missShare);
  }

  /**
   * The experts that `picks` name, in groups that fit the layer's slots: those that are there come first, so that the GPU has work while
   * others are read. Every pick counts as a use, token by token: were an expert of a prompt's chunk counted once, however many of its tokens
   * chose it, the tokens behind would find the wrong ones (half of the slots, traces of real locality: 25.5 misses a token in place of 15.8).
   */
  groups(layer: number, picks: ArrayLike<number>): number[][] {
    const policy = this.#policy(layer);
    const experts = Array.from(picks);
    for (let at = 0; at < experts.length; at += this.#chosen)
      policy.use(experts.slice(at, at + this.#chosen).map((expert) => this.#key(layer, expert)));
    return this.#fitting(layer, [...new Set(experts)]);
  }

  #fitting(layer: number, wanted: number[]): number[][] {
    const { pool } = this.#parts;
    const slab = slabOf(pool, layer);
    const { slots } = pool.slabs[slab]!;
    if (wanted.length <= slots) return [wanted];
    const isThere = (expert: number) => this.#policies[slab]!.slotOf(this.#key(layer, expert)) !== undefined;
    const groups = [wanted.filter(isThere)].filter(({ length }) => length > 0);
    const missing = wanted.filter((expert) => !isThere(expert));
    const size = Math.max(1, slots >> 1); // one half is read while the other is computed with
    for (let i = 0; i < missing.length; i += size) groups.push(missing.slice(i, i + size));
    return groups;
  }

  /**
   * Puts the experts of a group into slots; resolves when what is submitted from then on finds them, and with `rest`, which is computed at
   * other times, no others. Whatever reads slots must be submitted before.
   * @throws EngineError 'storage' and others that a read throws; AbortError. Experts that came stay.
   */
  async bring(layer: number, group: readonly number[], { mode, rest, signal }: Bring): Promise<void> {
    throwIfAborted(signal);
    if (!this.#parts.pool.complete && this.#coming.size > 0)
      await unlessAborted(Promise.allSettled(this.#coming.values()), signal);
    const counts = this.counts[mode];
    const policy = this.#policies[slabOf(this.#parts.pool, layer)]!;
    const keep = new Set(group.map((expert) => this.#key(layer, expert)));
    const coming: Promise<void>[] = [];
    const missed = counts.misses;
    for (const expert of group) {
      const here = policy.slotOf(this.#key(layer, expert)) !== undefined;
      this.#count(mode, layer, here ? 'hits' : 'misses');
      if (!here) counts.bytesRead += this.#parts.layers[layer]!.bytes;
      await this.#fetch(layer, expert, keep, signal);
      const arrival = this.#coming.get(this.#key(layer, expert));
      if (arrival) coming.push(arrival);
    }
    const ends = await Promise.allSettled(coming);
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
    if (mode === 'decode') {
      this.#learn(counts.misses - missed, group.length);
      this.#guessShare += (1 - this.#guessShare) / guessesForgotten;
    }
    if (rest) this.#write(layer, this.#rowOf(layer, group));
    else this.#tell(layer);
  }

  /** A token begins. */
  begin(): void {
    this.#fetched.clear();
    this.#failed.clear();
  }

  /** Tells the GPU of every expert that is there; what is submitted from then on finds them. */
  flush(): void {
    for (const layer of this.#stale) this.#tell(layer);
  }

  #tell(layer: number): void {
    if (!this.#stale.has(layer)) return;
    this.#write(layer, this.#rows[layer]!);
    this.#stale.delete(layer);
  }

  /**
   * What the token under way wants from here on, as far as is known, the first layer first: its experts, and of the next layers' as many as fit
   * the slots beside them, are fetched in that order and stay until the next call. Returns the first layer that does not fit any more.
   */
  want(wanted: readonly LayerPicks[]): number {
    const keep = new Set<number>();
    const room = this.#policies.map(({ slots }) => slots);
    let end = Number.POSITIVE_INFINITY;
    for (const { layer, picks } of wanted) {
      const slab = slabOf(this.#parts.pool, layer);
      if (room[slab]! < picks.length) {
        end = layer;
        break;
      }
      room[slab]! -= picks.length;
      for (const expert of picks) keep.add(this.#key(layer, expert));
    }
    this.#first = wanted[0]?.layer;
    this.#ahead = [...keep].filter((key) => !this.#failed.has(key) && this.#policy(this.#layerOf(key)).slotOf(key) === undefined);
    this.#keep = keep;
    // What an earlier token asked for and did not want in the end may still be on its way.
    for (const key of keep) if (this.#coming.has(key) && !this.#fetched.has(key)) this.#fetched.set(key, { ahead: true });
    this.#fetchAhead();
    return end;
  }

  /** Nothing more is fetched for the token. What is under way still comes. */
  wantNothing(): void {
    this.#ahead = [];
  }

  /** Whether all of them are in their slots: what is submitted after `flush` finds them. */
  has({ layer, picks }: LayerPicks): boolean {
    return picks.every((expert) => this.#rows[layer]![expert] !== absentSlot);
  }

  /** Why an expert of the layer that this token wanted did not come. */
  failureOf({ layer, picks }: LayerPicks): unknown {
    return picks.map((expert) => this.#failed.get(this.#key(layer, expert))).find((error) => error !== undefined);
  }

  /** Experts that `want` asked for and that no read has begun for. */
  get backlog(): number {
    return this.#ahead.length;
  }

  /** Resolves when one of the experts under way has come or failed; undefined where none is. */
  arrival(): Promise<void> | undefined {
    if (this.#coming.size === 0) return undefined;
    return Promise.race([...this.#coming.values()].map((coming) => coming.catch(() => {})));
  }

  #fetchAhead(): void {
    while (this.#ahead.length > 0 && this.#lanes.length > 0) {
      const key = this.#ahead[0]!;
      if (!this.#hasRoom(key)) return; // until something has arrived
      this.#ahead.shift();
      this.#fetched.set(key, { ahead: this.#layerOf(key) !== this.#first });
      this.counts.decode.bytesRead += this.#parts.layers[this.#layerOf(key)]!.bytes;
      this.#start(key, this.#keep, this.#lanes.pop()!, undefined);
    }
  }

  /** A token is computed: these are the choices of its layers. */
  settle(choices: readonly LayerPicks[]): void {
    const { decode } = this.counts;
    const missed = decode.misses;
    let guesses = 0;
    for (const { ahead } of this.#fetched.values()) if (ahead) guesses += 1;
    let used = 0;
    for (const { layer, picks } of choices) {
      const keys = picks.map((expert) => this.#key(layer, expert));
      this.#policy(layer).use(keys);
      for (const key of keys) {
        const fetched = this.#fetched.get(key);
        if (!fetched) {
          this.#count('decode', layer, 'hits');
          continue;
        }
        this.#count('decode', layer, 'misses');
        if (fetched.ahead) used += 1;
      }
    }
    decode.prefetchHits += used;
    if (guesses > 0) this.#guessShare += Math.min(1, guesses / guessesRemembered) * (used / guesses - this.#guessShare);
    this.#learn(
      decode.misses - missed,
      choices.reduce((sum, { picks }) => sum + picks.length, 0),
    );
    this.#fetched.clear();
  }

  /** For measurements: from now on every expert is said to be in some slot, whatever lies there, until `unalias`. */
  alias(): void {
    const { pool, layers } = this.#parts;
    for (const layer of layers.keys()) {
      const { slots } = pool.slabs[slabOf(pool, layer)]!;
      this.#write(
        layer,
        Uint32Array.from(this.#all(), (expert) => expert % slots),
      );
    }
    this.#complete = true;
  }

  unalias(): void {
    this.#complete = false; // what it wrote is stale already
  }

  /**
   * For measurements: milliseconds to read and upload `count` experts of all layers, `atOnce` of them at a time and nothing else. Slots
   * then hold what nobody knows of: nothing may be computed any more. @throws what a read throws.
   */
  async measureFetch(count: number, atOnce: number): Promise<number> {
    const { pool, layers, upload } = this.#parts;
    const all = layers.length * this.#experts;
    const step = Math.floor(all * 0.618) | 1; // far apart in the file, and in every layer
    let next = 0;
    const lane = async (filler: WindowFiller) => {
      for (let n = next++; n < count; n = next++) {
        const key = (n * step) % all;
        const layer = Math.floor(key / this.#experts);
        const slab = slabOf(pool, layer);
        await this.#read(layer, key % this.#experts, slab, n % pool.slabs[slab]!.slots, filler, undefined);
      }
    };
    const started = performance.now();
    await Promise.all(this.#lanes.slice(0, atOnce).map(lane));
    await upload.idle();
    return performance.now() - started;
  }

  destroy(): void {
    this.#stop.abort();
  }

  #key(layer: number, expert: number): number {
    return layer * this.#experts + expert;
  }

  #all(): number[] {
    return Array.from({ length: this.#experts }, (_, expert) => expert);
  }

  #layerOf(key: number): number {
    return Math.floor(key / this.#experts);
  }

  #note(key: number, slot: number): void {
    const layer = this.#layerOf(key);
    this.#rows[layer]![key % this.#experts] = slot;
    this.#stale.add(layer);
  }

  #policy(layer: number): SlotPolicy {
    return this.#policies[slabOf(this.#parts.pool, layer)]!;
  }

  /** Where some experts lie, as if there were no others. */
  #rowOf(layer: number, experts: readonly number[]): Uint32Array<ArrayBuffer> {
    const row = new Uint32Array(this.#experts).fill(absentSlot);
    for (const expert of experts) row[expert] = this.#rows[layer]![expert]!;
    return row;
  }

  #write(layer: number, row: Uint32Array<ArrayBuffer>): void {
    this.#stale.add(layer);
    this.#gpu.device.queue.writeBuffer(this.#parts.table, layer * expertTableStride(this.#experts), row);
  }

  /** Waits for a lane only; the read is in `#coming` from then on, unless the expert is there already. */
  /** Whether something may make room for it: neither what is wanted nor what is on its way. */
  #hasRoom(key: number): boolean {
    const policy = this.#policy(this.#layerOf(key));
    if (this.#keep.size + this.#coming.size < policy.slots) return true;
    let held = 0;
    for (const other of new Set([...this.#keep, ...this.#coming.keys()]))
      if (this.#policy(this.#layerOf(other)) === policy && policy.slotOf(other) !== undefined) held += 1;
    return held < policy.slots;
  }

  async #fetch(layer: number, expert: number, keep: ReadonlySet<number>, signal: AbortSignal | undefined): Promise<void> {
    const key = this.#key(layer, expert);
    if (this.#policy(layer).slotOf(key) !== undefined) return;
    this.#start(key, keep, await this.#lane(), signal);
  }

  /** Reads an expert that has no slot; it is in `#coming` from then on. */
  #start(key: number, keep: ReadonlySet<number>, filler: WindowFiller, signal: AbortSignal | undefined): void {
    const layer = this.#layerOf(key);
    const slab = slabOf(this.#parts.pool, layer);
    const policy = this.#policies[slab]!;
    const { slot, evicted } = policy.take(key, { has: (other) => keep.has(other) || this.#coming.has(other) });
    if (evicted !== undefined) this.#note(evicted, absentSlot);
    const arrival = this.#read(layer, key % this.#experts, slab, slot, filler, signal).then(
      () => this.#note(key, slot),
      (error: unknown) => {
        policy.drop(key);
        this.#failed.set(key, error);
        throw error;
      },
    );
    const settled = arrival.finally(() => {
      this.#coming.delete(key);
      this.#giveBack(filler);
    });
    settled.catch(() => {}); // reported to whoever waits for it
    this.#coming.set(key, settled);
  }

  async #read(
    layer: number,
    expert: number,
    slab: number,
    slot: number,
    filler: WindowFiller,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { slabs, pool } = this.#parts;
    // What everybody waits for is not one request's to cancel.
    const own = pool.complete ? undefined : signal;
    const both = own ? AbortSignal.any([own, this.#stop.signal]) : this.#stop.signal;
    for (const window of this.#windowsOf(layer, expert)) {
      const at = slot * pool.slotBytes + window.at;
      await retried(() =>
        this.#windows.send(window, slabs[slab]!, at, (into) => filler.fill(window, into, both), { signal: both }),
      );
    }
  }

  /** Kept: making them takes the thread that queues tokens longer than a read takes it. */
  #windowsOf(layer: number, expert: number): readonly Window[] {
    const key = this.#key(layer, expert);
    let windows = this.#known.get(key);
    if (!windows) {
      windows = this.#windows.windowsOf(this.#parts.layers[layer]!.image(expert));
      this.#known.set(key, windows);
    }
    return windows;
  }

  #lane(): Promise<WindowFiller> {
    const free = this.#lanes.pop();
    return free ? Promise.resolve(free) : new Promise((resolve) => this.#waiting.push(resolve));
  }

  #giveBack(filler: WindowFiller): void {
    const next = this.#waiting.shift();
    if (next) {
      next(filler);
      return;
    }
    this.#lanes.push(filler);
    this.#fetchAhead();
  }
}

async function retried(read: () => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await read();
    } catch (error) {
      const transient = error instanceof EngineError && error.code === 'storage';
      if (isAbort(error) || !transient || attempt === tries) throw error;
    }
  }
}
