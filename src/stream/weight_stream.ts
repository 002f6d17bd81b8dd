/**
 * Carries a memory plan out: loads resident images once, and streams the others through the ring, unit after unit in the order of
 * use, round and round. Reads run ahead as far as slots and staging allow, past the end of a token into the next one's first units.
 *
 * A slot is overwritten by a copy in the queue that comes after the compute that read it: `release` says that this compute was
 * submitted. Nothing here waits for the GPU except a staging buffer that is still being copied from.
 */
import { isAbort } from '../errors';
import type { SlabRef } from '../gpu/kernel';
import type { MemoryPlan } from '../plan/memory_plan';
import type { SlotImage, Window } from '../plan/windows';
import { nextTask } from '../storage/store/turns';
import { Deferred } from './deferred';
import { type Sources, WindowFiller } from './fill';
import type { FillStaging, UploadPath } from './upload';
import { type PairWeaver, WindowUpload } from './window_upload';

/** Where images go: one buffer per resident slab and per slot of the ring, and what dispatches reach them by. */
export type WeightHomes = {
  slabs: readonly GPUBuffer[];
  slots: readonly GPUBuffer[];
  /** The bind group of each slot, and the reference that the dispatches of each streamed image hold. */
  slotGroups: readonly GPUBindGroup[];
  imageRefs: ReadonlyMap<SlotImage, SlabRef>;
};

/** A window on its way to a buffer. `turn`: its place is free for queue operations from then on. */
type Job = {
  buffer: GPUBuffer;
  byteOffset: number;
  window: Window;
  turn: Promise<void> | undefined;
  read?(): void;
  done(): void;
  failed(error: unknown): void;
  signal: AbortSignal;
};

type Resident = { unit: number; job: Omit<Job, 'read' | 'done' | 'failed' | 'signal' | 'turn'> };
type Streamed = { unit: number; isHead: boolean; images: { image: SlotImage; windows: Window[] }[] };

export class WeightStream {
  readonly #homes: WeightHomes;
  readonly #upload: UploadPath;
  readonly #windows: WindowUpload;
  readonly #fillers: WindowFiller[];
  readonly #stop = new AbortController();

  /** Resident windows still to load, in the order of use, and how many of each unit are left; -1 are the small parameters. */
  #queue: Resident[] = [];
  readonly #left = new Map<number, number>();
  #loaded: Deferred;
  #loadFailure: { error: unknown } | undefined;
  /** Counts the tries to load: what a read of an earlier one says late is no failure of this one. */
  #loadTry = 0;
  #onBytes: (bytes: number) => void = () => {};

  readonly #streamed: Streamed[];
  readonly #streamedUnits: ReadonlySet<number>;
  readonly #ready = new Map<number, Deferred>();
  #feed: Feed;
  #wake = new Deferred();
  #inPass = false;
  /** Nothing is read ahead: measurements want staging and disk for themselves. */
  #measuring = false;
  #streamedSoFar = 0;

  /** With `weaver` scales and biases are interleaved on the GPU; its plan says so too. */
  constructor(plan: MemoryPlan, homes: WeightHomes, upload: UploadPath, sources: Sources, weaver?: PairWeaver) {
    this.#homes = homes;
    this.#upload = upload;
    this.#windows = new WindowUpload(upload, weaver);
    this.#fillers = Array.from({ length: plan.staging.buffers }, () => new WindowFiller(sources));
    const { units } = plan.model;
    this.#streamed = units.flatMap((unit, index) =>
      plan.streamed[index]
        ? [
            {
              unit: index,
              isHead: unit.kind === 'head',
              images: unit.images.map((image) => ({ image, windows: this.#windows.windowsOf(image) })),
            },
          ]
        : [],
    );
    this.#streamedUnits = new Set(this.#streamed.map(({ unit }) => unit));
    this.#queueResident(plan);
    this.#loaded = new Deferred();
    this.#feed = new Feed(homes.slots.length);
  }

  /** Bytes read for one token with the head. */
  get streamedBytes(): number {
    return this.#streamed.reduce((sum, { images }) => sum + images.reduce((all, { image }) => all + image.bytes, 0), 0);
  }

  /** Bytes of streamed units that have been read, of all sweeps so far: also what waits in staging for its slot. */
  get streamedSoFar(): number {
    return this.#streamedSoFar;
  }

  #queueResident(plan: MemoryPlan): void {
    const unitOf = new Map<SlotImage, number>();
    for (const [index, unit] of plan.model.units.entries()) for (const image of unit.images) unitOf.set(image, index);
    for (const [slab, { images }] of plan.placement.slabs.entries()) {
      for (const { image, byteOffset } of images) {
        const unit = unitOf.get(image) ?? -1;
        for (const window of this.#windows.windowsOf(image)) {
          this.#queue.push({ unit, job: { buffer: this.#homes.slabs[slab]!, byteOffset: byteOffset + window.at, window } });
          this.#left.set(unit, (this.#left.get(unit) ?? 0) + 1);
        }
        if (!this.#ready.has(unit)) this.#ready.set(unit, new Deferred());
      }
    }
    this.#queue.sort((a, b) => a.unit - b.unit); // stable: the order of use, small parameters first
  }

  /** Starts everything; resolves when all resident weights are queued for the GPU. @throws what a read throws. */
  start(onBytes: (bytes: number) => void = () => {}): Promise<void> {
    this.#onBytes = onBytes;
    if (this.#queue.length === 0) this.#loaded.resolve();
    for (const filler of this.#fillers) void this.#work(filler);
    return this.#loaded.promise;
  }

  /**
   * Begins a sweep over all units; `withHead` false leaves the head's out. What an unfinished sweep left behind is dropped.
   * After a failure this tries again.
   */
  beginPass(withHead: boolean): void {
    this.#measuring = false;
    if (this.#inPass || this.#feed.failure || this.#loadFailure) this.#restart();
    this.#inPass = true;
    this.#feed.passes.push(withHead);
    if (this.#loadFailure) this.#loadAgain();
    this.#signal();
  }

  #loadAgain(): void {
    this.#loadFailure = undefined;
    this.#loadTry += 1;
    for (const [unit, left] of this.#left) {
      const ready = new Deferred(); // also where the last window came after the failure
      if (left === 0) ready.resolve();
      this.#ready.set(unit, ready);
    }
  }

  /** Every unit of the sweep was acquired and released. */
  endPass(): void {
    this.#inPass = false;
  }

  /** Resolves when the unit's bytes are in the queue: what is submitted from then on reads them. @throws what a read throws. */
  async acquire(unit: number): Promise<void> {
    await this.#ready.get(-1)?.promise;
    if (this.#feed.failure && this.#streamedUnits.has(unit) && !this.#feed.open.has(unit)) throw this.#feed.failure.error;
    if (this.#streamedUnits.has(unit)) await this.#feed.ready(unit).promise;
    else await this.#ready.get(unit)?.promise;
  }

  /** The compute that reads this unit was submitted: its slots may be overwritten behind it. */
  release(unit: number): void {
    if (!this.#streamedUnits.has(unit)) return;
    this.#feed.release(unit);
    this.#signal();
  }

  destroy(): void {
    this.#stop.abort();
    this.#feed.abort.abort();
    this.#signal();
  }

  #restart(): void {
    this.#feed.abort.abort();
    this.#feed = new Feed(this.#homes.slots.length);
    this.#inPass = false;
    this.#signal();
  }

  #signal(): void {
    const wake = this.#wake;
    this.#wake = new Deferred();
    wake.resolve();
  }

  /** One of several workers: takes the next window, fills it, queues it. */
  async #work(filler: WindowFiller): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const job = this.#next();
      if (!job) {
        await this.#wake.promise;
        continue;
      }
      const { buffer, byteOffset, window, turn, signal } = job;
      try {
        const fill: FillStaging = async (into) => {
          await filler.fill(window, into, signal);
          job.read?.();
        };
        await this.#windows.send(window, buffer, byteOffset, fill, { ...(turn ? { turn } : {}), signal });
        job.done();
      } catch (error) {
        job.failed(error);
      }
    }
  }

  /**
   * Resident windows and streamed ones in the order of use. While resident ones are left, a streamed unit only starts where its
   * slots are free: waiting for one would hold a staging buffer that the computation may be waiting for.
   */
  #next(): Job | undefined {
    const resident = this.#loadFailure ? undefined : this.#queue[0];
    const next = this.#feed.current ?? this.#peek();
    const before = next && (!resident || next.unit < resident.unit);
    if (next && (before || !resident)) {
      const job = this.#streamJob(resident === undefined);
      if (job) return job;
    }
    if (!resident) return undefined;
    this.#queue.shift();
    return this.#residentJob(resident);
  }

  #residentJob(resident: Resident): Job {
    const { unit, job } = resident;
    const loadTry = this.#loadTry;
    return {
      ...job,
      turn: undefined,
      signal: this.#stop.signal,
      done: () => {
        this.#onBytes(job.window.bytes);
        const left = this.#left.get(unit)! - 1;
        this.#left.set(unit, left);
        if (left === 0) this.#ready.get(unit)!.resolve();
        if ([...this.#left.values()].every((count) => count === 0)) this.#loaded.resolve();
      },
      failed: (error) => {
        this.#queue.unshift(resident);
        if (this.#loadFailure || loadTry !== this.#loadTry) return;
        this.#loadFailure = { error };
        for (const [index, count] of this.#left) if (count > 0) this.#ready.get(index)!.reject(error);
        this.#loaded.reject(error);
      },
    };
  }

  /** The next streamed unit, if the sweep that it belongs to is known to want it. */
  #peek(): Streamed | undefined {
    const feed = this.#feed;
    if (this.#streamed.length === 0 || feed.failure || this.#measuring) return undefined;
    for (;;) {
      const next = this.#streamed[feed.cursor];
      if (!next) {
        feed.cursor = 0;
        feed.passes.shift();
        continue;
      }
      if (!next.isHead) return next;
      const [withHead] = feed.passes;
      if (withHead === undefined) return undefined; // read ahead up to here; the sweep has not begun
      if (withHead) return next;
      feed.cursor = this.#streamed.length;
    }
  }

  #streamJob(mayWait: boolean): Job | undefined {
    const feed = this.#feed;
    if (!feed.current) {
      const next = this.#peek();
      if (!next || feed.open.has(next.unit)) return undefined;
      if (!mayWait && !feed.hasFree(next.images.length)) return undefined;
      this.#openUnit(next);
    }
    const { current } = feed;
    if (!current) return undefined;
    const { windows } = current.images[feed.image]!;
    const window = windows[feed.window]!;
    const { slot, turn } = feed.slotsOf(current.unit)[feed.image]!;
    feed.window += 1;
    if (feed.window === windows.length) {
      feed.window = 0;
      feed.image += 1;
      if (feed.image === current.images.length) feed.close();
    }
    const { unit } = current;
    return {
      buffer: this.#homes.slots[slot]!,
      byteOffset: window.at,
      window,
      turn,
      signal: feed.abort.signal,
      read: () => {
        this.#streamedSoFar += window.bytes;
      },
      done: () => feed.windowDone(unit),
      failed: (error) => {
        if (feed !== this.#feed && isAbort(error)) return; // of a sweep that was dropped
        feed.fail(error);
      },
    };
  }

  #openUnit(next: Streamed): void {
    const windows = next.images.reduce((sum, entry) => sum + entry.windows.length, 0);
    const slots = this.#feed.openUnit(next, windows);
    for (const [i, { image }] of next.images.entries())
      this.#homes.imageRefs.get(image)!.group = this.#homes.slotGroups[slots[i]!]!;
  }

  /** Milliseconds to read all streamed bytes of one token into ordinary memory, with nothing else going on. */
  async measureRead(): Promise<number> {
    const buffers: Uint8Array<ArrayBuffer>[] = [];
    return this.#measure((window, worker) => {
      buffers[worker] ??= new Uint8Array(this.#upload.pieceBytes);
      return this.#fillers[worker]!.fill(window, buffers[worker], this.#stop.signal);
    });
  }

  /** Milliseconds to bring as many bytes from ordinary memory to the GPU. The ring's contents are lost. */
  async measureUpload(): Promise<number> {
    const memory = new Uint8Array(this.#upload.pieceBytes);
    return this.#measureSends((into) => into.set(memory.subarray(0, into.byteLength)));
  }

  /** Milliseconds to bring them from the source to the GPU: reads go straight into staging, which is less than both apart. */
  async measureThrough(): Promise<number> {
    return this.#measureSends((into, window, filler) => filler.fill(window, into, this.#stop.signal));
  }

  #measureSends(
    fill: (into: Uint8Array<ArrayBuffer>, window: Window, filler: WindowFiller) => void | Promise<void>,
  ): Promise<number> {
    const { slots } = this.#homes;
    let next = 0;
    return this.#measure((window, worker) => {
      const target = slots[next++ % slots.length]!;
      const filler = this.#fillers[worker]!;
      return this.#windows.send(window, target, window.at, (into) => fill(into, window, filler), { signal: this.#stop.signal });
    });
  }

  async #measure(move: (window: Window, worker: number) => Promise<void>): Promise<number> {
    const windows = this.#streamed.flatMap(({ images }) => images.flatMap((entry) => entry.windows));
    if (windows.length === 0) return 0; // the upload path may be gone by then
    this.#measuring = true;
    this.#restart();
    await this.#upload.idle();
    const started = performance.now();
    let next = 0;
    const work = async (worker: number) => {
      for (let window = windows[next++]; window; window = windows[next++]) await move(window, worker);
    };
    // Another worker for every turn of the event loop: reads that block end before there is one, and more than one buffer for them
    // would only cost the processor's cache.
    const working: Promise<void>[] = [];
    let failed = false;
    for (let worker = 0; worker < this.#fillers.length && next < windows.length && !failed; worker++) {
      if (worker > 0) await nextTask();
      const lane = work(worker);
      lane.catch(() => {
        failed = true; // its reason comes from the wait below
      });
      working.push(lane);
    }
    await Promise.all(working);
    await this.#upload.idle();
    return performance.now() - started;
  }
}

/** `turn`: the slot's reader before was submitted; `free`: this unit's was. */
type OpenSlot = { slot: number; turn: Promise<void> | undefined; free: Deferred };
type OpenUnit = { slots: OpenSlot[]; ready: Deferred; windowsLeft: number };

/** Where the sweep through the streamed units stands, and which slots are taken. Dropped whole when a sweep is broken off. */
class Feed {
  readonly abort = new AbortController();
  readonly open = new Map<number, OpenUnit>();
  /** For each sweep that has begun and whose end the cursor has not passed, whether it wants the head. */
  readonly passes: boolean[] = [];
  cursor = 0;
  current: Streamed | undefined;
  image = 0;
  window = 0;
  failure: { error: unknown } | undefined;
  /** Of the slot's last unit: resolves when its reader was submitted. Undefined where nothing was read from it yet. */
  readonly #taken: (Deferred | undefined)[];
  readonly #waiting = new Map<number, Deferred>();
  #nextSlot = 0;

  constructor(slots: number) {
    this.#taken = new Array<Deferred | undefined>(slots).fill(undefined);
  }

  hasFree(slots: number): boolean {
    return Array.from({ length: slots }, (_, i) => this.#taken[(this.#nextSlot + i) % this.#taken.length]).every(
      (taken) => taken === undefined || taken.settled,
    );
  }

  /** Takes the next slots in ring order; returns them. */
  openUnit(unit: Streamed, windows: number): number[] {
    const slots = unit.images.map(() => {
      const slot = this.#nextSlot;
      this.#nextSlot = (slot + 1) % this.#taken.length;
      const turn = this.#taken[slot];
      const free = new Deferred();
      this.#taken[slot] = free;
      return { slot, turn: turn && !turn.settled ? turn.promise : undefined, free };
    });
    const ready = this.#waiting.get(unit.unit) ?? new Deferred();
    this.#waiting.delete(unit.unit);
    this.open.set(unit.unit, { slots, ready, windowsLeft: windows });
    this.current = unit;
    this.image = 0;
    this.window = 0;
    return slots.map(({ slot }) => slot);
  }

  slotsOf(unit: number): OpenUnit['slots'] {
    return this.open.get(unit)!.slots;
  }

  /** All windows of the current unit were handed out. */
  close(): void {
    this.current = undefined;
    this.cursor += 1;
  }

  ready(unit: number): Deferred {
    const open = this.open.get(unit);
    if (open) return open.ready;
    let waiting = this.#waiting.get(unit);
    if (!waiting) {
      waiting = new Deferred();
      this.#waiting.set(unit, waiting);
    }
    return waiting;
  }

  windowDone(unit: number): void {
    const open = this.open.get(unit);
    if (open && --open.windowsLeft === 0) open.ready.resolve();
  }

  release(unit: number): void {
    const open = this.open.get(unit);
    if (!open) return;
    this.open.delete(unit);
    for (const { free } of open.slots) free.resolve();
  }

  fail(error: unknown): void {
    if (this.failure) return;
    this.failure = { error };
    for (const { ready } of this.open.values()) ready.reject(error);
    for (const ready of this.#waiting.values()) ready.reject(error);
    this.abort.abort();
  }
}
