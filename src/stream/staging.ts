/** Staging buffers of an upload path: their sizes, and who has which. */
import { abortError, EngineError, throwIfAborted } from '../errors';
import type { UploadKind } from './upload';

/** `pieceBytes`: size of one staging buffer. `buffers`: how many there are. `uncapped`: for probes, which ask what larger writes would cost. */
export type StagingOptions = { pieceBytes?: number; buffers?: number; uncapped?: boolean };

/** Past 4 MiB, Chrome allocates for every write; below 1 MiB the cost of a copy's submit shows. */
const defaultPieceBytes = 4 * 1024 * 1024;
const defaultBuffers = 4;
/** What queue.writeBuffer may have in flight: past this, browsers allocate without bound. */
const writeWindowBytes = 16 * 1024 * 1024;

type StagingSizes = { pieceBytes: number; buffers: number };

/** What the options come to: sizes are rounded up to 16 bytes; writes are at most 4 MiB each and 16 MiB in flight, unless `uncapped`. */
export function stagingSizes(kind: UploadKind, options: StagingOptions = {}): StagingSizes {
  const { pieceBytes: piece = defaultPieceBytes, buffers = defaultBuffers, uncapped = false } = options;
  if (!(Number.isSafeInteger(piece) && piece > 0 && Number.isSafeInteger(buffers) && buffers > 0)) {
    throw new EngineError(
      'shape',
      `Staging of ${buffers} buffers of ${piece} bytes is not possible. Use positive whole numbers.`,
    );
  }
  const asked = Math.ceil(piece / 16) * 16;
  if (kind === 'mapped' || uncapped) return { pieceBytes: asked, buffers };
  const pieceBytes = Math.min(asked, defaultPieceBytes);
  return { pieceBytes, buffers: Math.min(buffers, Math.max(1, Math.floor(writeWindowBytes / pieceBytes))) };
}

/**
 * Bytes that a path counts against the GPU budget. For 'write' it is a reserve: the browser's own staging cannot be seen, but no
 * more than this is ever in flight.
 */
export function stagingBytes(kind: UploadKind, options?: StagingOptions): number {
  const { pieceBytes, buffers } = stagingSizes(kind, options);
  return pieceBytes * buffers;
}

type Waiter<Slot> = { resolve(slot: Slot): void; reject(error: unknown): void };

/** Hands out slots in the order of asking, until it ends. Nothing here grows with the number of uploads. */
export class StagingPool<Slot> {
  readonly #size: number;
  readonly #free: Slot[] = [];
  readonly #waiting = new Set<Waiter<Slot>>();
  readonly #idle = new Set<Waiter<void>>();
  /** Those who wait for something else and still must hear of the end. */
  readonly #listening = new Set<(error: unknown) => void>();
  #ended: unknown;

  constructor(size: number) {
    this.#size = size;
  }

  /** Why the pool hands out nothing any more; undefined while it does. */
  get ended(): unknown {
    return this.#ended;
  }

  /** @throws AbortError; why the pool ended. */
  async take(signal?: AbortSignal): Promise<Slot> {
    this.check(signal);
    const free = this.#free.pop();
    if (free !== undefined) return free;
    let waiter: Waiter<Slot> | undefined;
    const slot = new Promise<Slot>((resolve, reject) => {
      waiter = { resolve, reject };
      this.#waiting.add(waiter);
    });
    return aborting(slot, signal, () => this.#waiting.delete(waiter!));
  }

  /** A slot is free again, or for the first time. */
  give(slot: Slot): void {
    if (this.#ended !== undefined) return;
    const [next] = this.#waiting;
    if (next) {
      this.#waiting.delete(next);
      next.resolve(slot);
      return;
    }
    this.#free.push(slot);
    if (this.#free.length < this.#size) return;
    for (const { resolve } of this.#idle) resolve();
    this.#idle.clear();
  }

  /** Resolves when every slot is free. */
  async idle(): Promise<void> {
    this.check();
    if (this.#free.length === this.#size) return;
    await new Promise<void>((resolve, reject) => this.#idle.add({ resolve, reject }));
  }

  /** Waits for `pending` as long as the pool lasts. @throws AbortError; why the pool ended; what `pending` rejects with. */
  async during<T>(pending: Promise<T>, signal?: AbortSignal): Promise<T> {
    this.check(signal);
    // A race with one promise that lives as long as the pool would leave a reaction on it for every upload.
    let listener: ((error: unknown) => void) | undefined;
    const first = new Promise<T>((resolve, reject) => {
      listener = reject;
      this.#listening.add(reject);
      pending.then(resolve, reject);
    });
    try {
      return await aborting(first, signal, () => {});
    } finally {
      this.#listening.delete(listener!);
    }
  }

  /** @throws AbortError; why the pool ended. */
  check(signal?: AbortSignal): void {
    if (this.#ended !== undefined) throw this.#ended;
    throwIfAborted(signal);
  }

  /** Everyone who waits hears `error`, and whoever asks later. The first end counts. */
  end(error: unknown): void {
    if (this.#ended !== undefined) return;
    this.#ended = error;
    this.#free.length = 0;
    for (const { reject } of [...this.#waiting, ...this.#idle]) reject(error);
    for (const reject of this.#listening) reject(error);
    this.#waiting.clear();
    this.#idle.clear();
    this.#listening.clear();
  }
}

/** `pending`, or AbortError as soon as `signal` aborts; `onAbort` runs before that. */
async function aborting<T>(pending: Promise<T>, signal: AbortSignal | undefined, onAbort: () => void): Promise<T> {
  if (!signal) return pending;
  let stop: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => {
      onAbort();
      reject(abortError());
    };
    signal.addEventListener('abort', stop);
  });
  try {
    return await Promise.race([pending, aborted]);
  } finally {
    signal.removeEventListener('abort', stop!);
  }
}
