/**
 * What a sequence has read, and earlier moments to return to, so that a prompt costs only its new tokens.
 *
 * Keys and values can be cut to any length; recurrent and conv state only go back to a moment that was kept (qwen35.md §4.8). Kept are:
 *
 * - `turn`    the end of the last message before the opening of the reply. It survives a template that rewrites the reply once the
 *             next message comes (thinking is left out)
 * - `prompt`  the end of the prompt, with the logits there: the same prompt again (regenerate, `n` choices) reads nothing
 * - `branch`  where this prompt left what was read before it: a preamble that several conversations share
 * - `reply`   the end of what was read, when another conversation takes the sequence over
 *
 * The newest moments of the conversation that the sequence holds lie in slots of the GPU that the plan has room for, or where it has
 * none in CPU memory. What another conversation would overwrite is copied to CPU memory, keys and values too, within `copyBytes`; the
 * least recently used copy goes first.
 * A moment is known by the ids that led to it, so nothing stale can be taken for a prefix.
 */
import type { BufferBytes } from '../model/sequence';
import type { LogitRow } from './logit_row';
import type { ModelSession } from './model_session';

export type Ids = Uint32Array<ArrayBuffer>;
type Bytes = Uint8Array<ArrayBuffer>;
export type SnapshotKind = 'turn' | 'prompt' | 'branch' | 'reply';

/** Keys and values on the CPU, buffer by buffer; moments of one conversation share them. */
export type RowsCopy = { length: number; rows: Bytes[] };

/** A moment after the tokens `ids`. */
export type Snapshot = {
  kind: SnapshotKind;
  ids: Ids;
  state: { slot: number } | { copy: Bytes[] };
  /** Undefined while the sequence itself holds them. */
  rows: RowsCopy | undefined;
  logits: Float32Array<ArrayBuffer> | undefined;
  /** Rises with every use. */
  used: number;
};

export type ReadOptions = {
  /** Tokens up to the end of the last message, if the prompt has messages. */
  turnEnd?: number | undefined;
  /** Gets the logits after the last token. */
  row: LogitRow;
  /** Counts what is read, not what was known. */
  onProgress?(done: number, total: number): void;
  signal?: AbortSignal;
};

/** A branch that saves fewer tokens than this is not worth a slot, nor another conversation a copy. */
const worthwhileTokens = 16;

export class PrefixCache {
  readonly #session: ModelSession;
  readonly #copyBytes: number;
  /** What the sequence has read, as far as it is certain. */
  #ids: number[] = [];
  /** The running state is that after `#ids`; false after a step that broke off. */
  #live = true;
  /** `sequence.changes` when this object last saw it: others change the sequence too. */
  #changes: number;
  #snapshots: Snapshot[] = [];
  #turnEnd = 0;
  #expected: readonly number[] = [];
  #clock = 0;

  /** `copyBytes`: most CPU memory for copies. */
  constructor(session: ModelSession, { copyBytes }: { copyBytes: number }) {
    this.#session = session;
    this.#copyBytes = copyBytes;
    this.#changes = session.sequence.changes;
    this.forget();
  }

  /** CPU bytes of all copies. */
  get copiedBytes(): number {
    return copiedBytes(this.#snapshots);
  }

  /** The sequence holds something else now. Copies stay good. */
  forget(): void {
    this.#snapshots = this.#snapshots.filter(({ rows }) => rows !== undefined);
    this.#ids = [];
    this.#turnEnd = 0;
    this.#live = false;
    this.#changes = this.#session.sequence.changes;
  }

  /**
   * Brings the sequence to where it has read `tokens` and nothing else, and puts the logits after the last one into `row`.
   * @returns how many of them were known, and how many were expected to be: see `expect`. @throws as Runner.step does; what was known before stays known.
   */
  async read(tokens: Ids, options: ReadOptions): Promise<{ cachedTokens: number; replayedTokens: number }> {
    if (!this.#isCurrent()) this.forget();
    const { best, base, common } = this.#longest(tokens);
    if (this.#isOther(common)) await this.#copyAway(common);
    await this.#goTo(best, base, tokens);
    this.#turnEnd = Math.min(options.turnEnd ?? tokens.length, tokens.length);
    if (base === tokens.length) options.row.fill(best!.logits!);
    else await this.#readRest(tokens, base, common, options);
    const replayedTokens = Math.max(0, commonPrefix(this.#expected, tokens) - base);
    this.#expected = [];
    return { cachedTokens: base, replayedTokens };
  }

  /** How many of these tokens `read` would not read. */
  known(tokens: Ids): number {
    if (!this.#isCurrent()) this.forget();
    return this.#longest(tokens).base;
  }

  /** Further tokens: a step of decoding. */
  async extend(tokens: readonly number[], row: LogitRow, signal: AbortSignal): Promise<void> {
    await this.#step(Uint32Array.from(tokens), { row, signal });
  }

  /** From here on somebody else reads into the sequence, until `takeBack` says what. Meanwhile the running state is nobody's. */
  lend(): void {
    this.#live = false;
  }

  /** `read`: all that the sequence has read since `lend`. */
  takeBack(read: readonly number[]): void {
    for (const token of read) this.#ids.push(token);
    this.#live = true;
    this.#changes = this.#session.sequence.changes;
  }

  /**
   * What was read, with keys and values, and the moments on the way to it, the running one last. Undefined where nothing is known.
   * @throws EngineError 'device-lost'.
   */
  async copyAll(): Promise<{ ids: number[]; rows: Bytes[]; snapshots: (Snapshot & { state: { copy: Bytes[] } })[] } | undefined> {
    if (!this.#isCurrent() || this.#ids.length === 0) return undefined;
    const ids = [...this.#ids];
    const { rows } = await this.#copyRows(ids.length);
    const kept = this.#snapshots.filter((each) => !each.rows).sort((a, b) => a.ids.length - b.ids.length);
    const running: Snapshot = {
      ...{ kind: 'reply', ids: Uint32Array.from(ids), state: { slot: this.#session.sequence.slot } },
      ...{ rows: undefined, logits: undefined, used: 0 },
    };
    const snapshots: (Snapshot & { state: { copy: Bytes[] } })[] = [];
    for (const each of this.#live ? [...kept, running] : kept) {
      const copy = 'copy' in each.state ? each.state.copy : await this.#copyState(each.state.slot);
      snapshots.push({ ...each, state: { copy } });
    }
    return { ids, rows, snapshots };
  }

  /** Puts what `copyAll` gave in place of what the sequence holds, moments as far as there is room. */
  adopt(ids: readonly number[], rows: readonly Bytes[], snapshots: readonly Snapshot[]): void {
    const { sequence, plan } = this.#session;
    this.forget();
    this.#expected = [];
    this.#upload(sequence.keysAndValues(ids.length), rows);
    const running = snapshots.find(({ kind, ids: own }) => kind === 'reply' && own.length === ids.length);
    const latest = snapshots.filter((each) => each !== running);
    const kept = plan.snapshotSlots > 0 ? latest.slice(-plan.snapshotSlots) : latest;
    for (const [i, each] of kept.entries()) {
      const state = plan.snapshotSlots > 0 ? { slot: i + 1 } : each.state;
      if ('slot' in state && 'copy' in each.state) this.#upload(sequence.state(state.slot), each.state.copy);
      this.#snapshots.push({ ...each, state, used: ++this.#clock });
    }
    this.#evictCopies();
    if (running && 'copy' in running.state) this.#upload(sequence.state(0), running.state.copy);
    sequence.place(ids.length, 0);
    this.#ids = [...ids];
    this.#turnEnd = latest.findLast(({ kind }) => kind === 'turn')?.ids.length ?? 0;
    this.#live = running !== undefined;
    this.#changes = sequence.changes;
  }

  /** These tokens had been read once and their state is lost: the next `read` says how many of them it reads again. */
  expect(ids: readonly number[]): void {
    this.#expected = ids;
  }

  #isCurrent(): boolean {
    return this.#changes === this.#session.sequence.changes;
  }

  /** The longest known prefix; the last token is read again where its logits are not known. */
  #longest(tokens: Ids): { best: Snapshot | undefined; base: number; common: number } {
    const common = commonPrefix(this.#ids, tokens);
    const running = this.#live && common === this.#ids.length && common < tokens.length ? common : 0;
    let best: Snapshot | undefined;
    for (const snapshot of this.#snapshots) {
      const { ids, rows, logits } = snapshot;
      const better = ids.length > (best?.ids.length ?? running) || (best?.rows && !rows && ids.length === best.ids.length);
      const wholeNeedsLogits = ids.length < tokens.length || logits !== undefined;
      if (better && wholeNeedsLogits && commonPrefix(ids, tokens) === ids.length) best = snapshot;
    }
    return { best, base: best?.ids.length ?? running, common };
  }

  /** Another conversation takes over, rather than the same one going on, its last reply made again, or its last message put otherwise. */
  #isOther(common: number): boolean {
    return common < this.#turnEnd && this.#ids.length - common >= worthwhileTokens;
  }

  async #goTo(best: Snapshot | undefined, base: number, tokens: Ids): Promise<void> {
    const { sequence, runner } = this.#session;
    const running = !best && base > 0;
    this.#live = false;
    if (best) {
      best.used = ++this.#clock;
      if (best.rows) this.#upload(sequence.keysAndValues(base), best.rows.rows);
      if ('copy' in best.state) this.#upload(sequence.state(0), best.state.copy);
      else runner.copySlot(sequence, best.state.slot, 0);
      sequence.place(base, 0);
    } else if (!running) sequence.reset();
    const onTheWay = ({ ids }: Snapshot) => ids.length <= base && commonPrefix(ids, tokens) === ids.length;
    this.#snapshots = this.#snapshots.filter((each) => each.rows || onTheWay(each)); // rows beyond are about to be written over
    for (const each of this.#snapshots) if (each.kind === 'branch' && onTheWay(each)) each.used = ++this.#clock;
    this.#ids = Array.from(tokens.subarray(0, base));
    this.#live = true;
    this.#changes = sequence.changes;
  }

  /** Reads what is new, and keeps moments on the way. */
  async #readRest(tokens: Ids, base: number, common: number, options: ReadOptions): Promise<void> {
    const wanted = this.#moments(tokens.length, base, common, options.turnEnd);
    const total = tokens.length - base;
    const onProgress = (from: number) => (done: number) => options.onProgress?.(from - base + done, total);
    const { snapshotSlots } = this.#session.plan;
    if (snapshotSlots > 0) {
      const kept = wanted.slice(0, snapshotSlots).sort((a, b) => a.length - b.length);
      const slots = this.#freeSlots(kept.length);
      const snapshots = kept.map(({ length }, i) => ({ after: length - base, slot: slots[i]! }));
      await this.#step(tokens.subarray(base), { ...options, snapshots, onProgress: onProgress(base) });
      for (const [i, { kind, length }] of kept.entries()) this.#keep(kind, length, { slot: slots[i]! }, options.row);
      return;
    }
    const at = wanted[0];
    if (!at || this.#stateBytes() > this.#copyBytes) {
      await this.#step(tokens.subarray(base), { ...options, onProgress: onProgress(base) });
      return;
    }
    const logits = at.length < tokens.length ? 'none' : 'last';
    await this.#step(tokens.subarray(base, at.length), { ...options, logits, onProgress: onProgress(base) });
    options.row.fill(options.row.values); // reading state back takes the memory that logits came in
    this.#keep(at.kind, at.length, { copy: await this.#copyState(0) }, options.row);
    if (at.length < tokens.length)
      await this.#step(tokens.subarray(at.length), { ...options, onProgress: onProgress(at.length) });
  }

  /** Moments worth keeping of those to come, the most useful one first. */
  #moments(end: number, base: number, common: number, turnEnd = 0): { kind: SnapshotKind; length: number }[] {
    const moments: { kind: SnapshotKind; length: number }[] = [];
    if (turnEnd > base && turnEnd < end) moments.push({ kind: 'turn', length: turnEnd });
    moments.push({ kind: 'prompt', length: end });
    const isBranch = common >= base + worthwhileTokens && common < end && common !== turnEnd;
    if (isBranch) moments.push({ kind: 'branch', length: common });
    return moments;
  }

  async #step(
    tokens: Ids,
    {
      row,
      signal,
      logits = 'last',
      snapshots = [],
      onProgress,
    }: Pick<ReadOptions, 'row' | 'signal'> & {
      logits?: 'none' | 'last';
      snapshots?: readonly { after: number; slot: number }[];
      onProgress?(done: number): void;
    },
  ): Promise<void> {
    const { sequence, runner } = this.#session;
    this.#live = false;
    try {
      const part = { sequence, tokens, logits, snapshots, onLogits: row.add, ...(onProgress ? { onProgress } : {}) };
      await runner.step([part], signal);
      for (const token of tokens) this.#ids.push(token);
      this.#live = true;
    } finally {
      this.#changes = sequence.changes;
    }
  }

  #keep(kind: SnapshotKind, length: number, state: Snapshot['state'], row: LogitRow): void {
    const ids = Uint32Array.from(this.#ids.slice(0, length));
    const logits = kind === 'prompt' ? row.values.slice() : undefined;
    this.#snapshots.push({ kind, ids, state, rows: undefined, logits, used: ++this.#clock });
    this.#evictCopies();
  }

  /**
   * Slots to write to: free ones, then those of moments that are worth least. All are of the one conversation that the sequence holds;
   * which of several conversations was least recently used is a question for their copies.
   */
  #freeSlots(count: number): number[] {
    const taken = this.#snapshots.filter(({ state }) => 'slot' in state);
    const slots = Array.from({ length: this.#session.plan.snapshotSlots }, (_, i) => i + 1);
    const free = slots.filter((slot) => !taken.some(({ state }) => 'slot' in state && state.slot === slot));
    // An earlier prompt's end is passed by, and a few tokens behind the end of its last message, where a rewritten reply begins.
    const order = taken.sort((a, b) => Number(a.kind !== 'prompt') - Number(b.kind !== 'prompt') || a.used - b.used);
    while (free.length < count) {
      const victim = order.shift()!;
      this.#snapshots = this.#snapshots.filter((each) => each !== victim);
      free.push((victim.state as { slot: number }).slot);
    }
    return free.slice(0, count);
  }

  /** Copies the running conversation to the CPU, as far as that is more than what the next one shares with it. */
  async #copyAway(common: number): Promise<void> {
    const lost = this.#snapshots.filter(({ rows, kind, ids }) => !rows && kind === 'turn' && ids.length > common).at(-1);
    const length = this.#live ? this.#ids.length : (lost?.ids.length ?? 0);
    if (length - common < worthwhileTokens) return;
    const states = Number(this.#live) + Number(lost !== undefined);
    const needed = sum(this.#session.sequence.keysAndValues(length)) + states * this.#stateBytes();
    if (needed > this.#copyBytes) return;
    this.#evictCopies(needed);
    const rows = await this.#copyRows(length);
    const copy = async (kind: SnapshotKind, ids: Ids, slot: number) => {
      const state = { copy: await this.#copyState(slot) };
      this.#snapshots.push({ kind, ids, state, rows, logits: undefined, used: ++this.#clock });
    };
    if (lost && 'slot' in lost.state) await copy('turn', lost.ids, lost.state.slot);
    else if (lost) this.#snapshots.push({ ...lost, rows, used: ++this.#clock });
    if (this.#live) await copy('reply', Uint32Array.from(this.#ids), this.#session.sequence.slot);
  }

  /** Until all copies, and `more` bytes, are within the limit. */
  #evictCopies(more = 0): void {
    const byUse = this.#snapshots.filter((each) => 'copy' in each.state).sort((a, b) => a.used - b.used);
    for (const victim of byUse) {
      if (copiedBytes(this.#snapshots) + more <= this.#copyBytes) return;
      this.#snapshots = this.#snapshots.filter((each) => each !== victim);
    }
  }

  #stateBytes(): number {
    return sum(this.#session.sequence.state(0));
  }

  async #copyRows(length: number): Promise<RowsCopy> {
    return { length, rows: await this.#copies(this.#session.sequence.keysAndValues(length)) };
  }

  #copyState(slot: number): Promise<Bytes[]> {
    return this.#copies(this.#session.sequence.state(slot));
  }

  async #copies(places: readonly BufferBytes[]): Promise<Bytes[]> {
    const copies: Bytes[] = [];
    for (const { buffer, byteOffset, bytes } of places) {
      const copy = new Uint8Array(bytes);
      await this.#session.runner.readBuffer(buffer, byteOffset, copy);
      copies.push(copy);
    }
    return copies;
  }

  /** `copies` may be longer than their places: rows of a longer conversation. */
  #upload(places: readonly BufferBytes[], copies: readonly Bytes[]): void {
    const { queue } = this.#session.gpu.device;
    for (const [i, { buffer, byteOffset, bytes }] of places.entries())
      if (bytes > 0) queue.writeBuffer(buffer, byteOffset, copies[i]!, 0, bytes);
  }
}

/** Tokens that both begin with. */
export function commonPrefix(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const most = Math.min(a.length, b.length);
  let length = 0;
  while (length < most && a[length] === b[length]) length++;
  return length;
}

const sum = (places: readonly BufferBytes[]): number => places.reduce((total, { bytes }) => total + bytes, 0);

function copiedBytes(snapshots: readonly Snapshot[]): number {
  const length = (arrays: readonly Bytes[]) => arrays.reduce((total, { byteLength }) => total + byteLength, 0);
  const shared = new Set(snapshots.map(({ rows }) => rows).filter((rows) => rows !== undefined));
  const rows = [...shared].reduce((total, each) => total + length(each.rows), 0);
  return snapshots.reduce((total, { state }) => total + ('copy' in state ? length(state.copy) : 0), rows);
}
