/** Where each chunk of a download stands, who waits for it, and which comes next. */
import { abortError, throwIfAborted } from '../../errors';
import type { StoreChunk } from './types';

const MISSING = 0;
/** A former run journaled it; its bytes are still to be hashed. */
const UNCHECKED = 1;
/** Being fetched or checked. */
const BUSY = 2;
const PRESENT = 3;

type Waiter = { need: Set<number>; settle(error?: unknown): void };
type Placed = { start: number; end: number; chunk: number };

export class ChunkBoard {
  readonly toFetch: WorkQueue;
  readonly toCheck: WorkQueue;
  /** Called after a chunk became present, or the board failed. */
  readonly listeners = new Set<() => void>();
  readonly totalBytes: number;
  storedBytes = 0;
  presentCount = 0;
  /** Grows whenever a chunk becomes present. */
  version = 0;
  private readonly hashes: (string | undefined)[];
  private readonly states: Uint8Array;
  private readonly places = new Map<string, Placed[]>();
  private readonly waiters = new Set<Waiter>();
  private failure: { error: unknown } | undefined;

  constructor(
    readonly chunks: readonly StoreChunk[],
    readonly ids: readonly string[],
  ) {
    this.states = new Uint8Array(chunks.length);
    this.hashes = new Array(chunks.length);
    this.toFetch = new WorkQueue(chunks.length, (index) => this.states[index] === MISSING);
    this.toCheck = new WorkQueue(chunks.length, (index) => this.states[index] === UNCHECKED);
    for (const [chunk, { targets }] of chunks.entries()) {
      for (const { file, byteOffset, byteLength } of targets) {
        const list = this.places.get(file) ?? [];
        list.push({ start: byteOffset, end: byteOffset + byteLength, chunk });
        this.places.set(file, list);
      }
    }
    for (const list of this.places.values()) list.sort((a, b) => a.start - b.start);
    this.totalBytes = chunks.reduce((sum, chunk) => sum + targetBytes(chunk), 0);
  }

  get allPresent(): boolean {
    return this.presentCount === this.chunks.length;
  }

  isPresent(index: number): boolean {
    return this.states[index] === PRESENT;
  }

  /** Hash of its bytes, as journaled; also of a chunk that is still to be checked. */
  hashOf(index: number): string | undefined {
    return this.hashes[index];
  }

  busy(index: number): void {
    this.move(index, BUSY);
  }

  unchecked(index: number, hash: string): void {
    this.hashes[index] = hash;
    this.move(index, UNCHECKED);
    this.toCheck.again(index);
  }

  missing(index: number): void {
    this.hashes[index] = undefined;
    this.move(index, MISSING);
    this.toFetch.again(index);
    if ([...this.waiters].some(({ need }) => need.has(index))) this.toFetch.first([index]);
  }

  present(index: number, hash: string): void {
    this.hashes[index] = hash;
    this.move(index, PRESENT);
    this.version++;
    for (const waiter of [...this.waiters]) {
      if (waiter.need.delete(index) && waiter.need.size === 0) waiter.settle();
    }
    for (const listener of [...this.listeners]) listener();
  }

  /** Ends every wait, now and later. */
  fail(error: unknown): void {
    this.failure = { error };
    for (const waiter of [...this.waiters]) waiter.settle(error);
    for (const listener of [...this.listeners]) listener();
  }

  /** Chunks that hold bytes of [start, end) of a stored file. */
  covering(file: string, start: number, end: number): number[] {
    const list = this.places.get(file) ?? [];
    const found: number[] = [];
    for (let i = firstEndingAfter(list, start); i < list.length && list[i]!.start < end; i++) found.push(list[i]!.chunk);
    return found;
  }

  /** Resolves when [start, end) of `file` is present; what is missing comes next. @throws the download's error; AbortError. */
  async ready(file: string, start: number, end: number, signal?: AbortSignal): Promise<void> {
    throwIfAborted(signal);
    const need = new Set(this.covering(file, start, end).filter((index) => !this.isPresent(index)));
    if (need.size === 0) return;
    if (this.failure) throw this.failure.error;
    this.toFetch.first([...need]);
    this.toCheck.first([...need]);
    for (const listener of [...this.listeners]) listener();
    await new Promise<void>((resolve, reject) => {
      const onAbort = () => waiter.settle(abortError());
      const waiter: Waiter = {
        need,
        settle: (error) => {
          this.waiters.delete(waiter);
          signal?.removeEventListener('abort', onAbort);
          if (error === undefined) resolve();
          else reject(error);
        },
      };
      this.waiters.add(waiter);
      signal?.addEventListener('abort', onAbort);
    });
  }

  private move(index: number, state: number): void {
    const bytes = targetBytes(this.chunks[index]!);
    if (this.states[index] === PRESENT) {
      this.presentCount--;
      this.storedBytes -= bytes;
    }
    if (state === PRESENT) {
      this.presentCount++;
      this.storedBytes += bytes;
    }
    this.states[index] = state;
  }
}

/** Numbers in order, except those that somebody asked for first. */
export class WorkQueue {
  private urgent: number[] = [];
  private cursor = 0;

  constructor(
    private readonly count: number,
    private readonly wanted: (index: number) => boolean,
  ) {}

  /** The next one; stays next until it is no longer wanted. */
  peek(): number | undefined {
    while (this.urgent.length > 0) {
      if (this.wanted(this.urgent[0]!)) return this.urgent[0];
      this.urgent.shift();
    }
    while (this.cursor < this.count && !this.wanted(this.cursor)) this.cursor++;
    return this.cursor < this.count ? this.cursor : undefined;
  }

  /** In this order, before everything else. */
  first(indices: readonly number[]): void {
    const moved = new Set(indices);
    this.urgent = [...indices, ...this.urgent.filter((index) => !moved.has(index) && this.wanted(index))];
  }

  /** `index` became wanted after the queue may have passed it. */
  again(index: number): void {
    this.cursor = Math.min(this.cursor, index);
  }
}

export function targetBytes({ targets }: StoreChunk): number {
  return targets.reduce((sum, { byteLength }) => sum + byteLength, 0);
}

export function sourceBytes({ sources }: StoreChunk): number {
  return sources.reduce((sum, { byteLength }) => sum + byteLength, 0);
}

function firstEndingAfter(list: readonly Placed[], position: number): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (list[middle]!.end > position) high = middle;
    else low = middle + 1;
  }
  return low;
}
