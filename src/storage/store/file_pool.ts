/**
 * Open weight files. Outside Chrome a handle is exclusive, so one handle per file serves writer and readers of this worker; where
 * another tab holds a file, readers fall back to snapshots, which need no lock.
 */
import { EngineError, throwIfAborted } from '../../errors';
import type { ByteSource } from '../byte_source';
import { shortRead } from '../range';
import { isHeldElsewhere, type StoreDirectory, type StoreFile, storageError } from './directory';
import { openPatiently } from './small_file';
import { giveWay, pauseMs } from './turns';

/** More than the files of a 27B model; a bound for what has thousands. */
const HANDLES_KEPT = 256;
/** While files grow, Chrome reserves quota ahead for each open handle (up to 128 MiB), and gives it back when the handle closes. */
const WRITE_HANDLES_KEPT = 6;
/** Most that one synchronous read takes; longer ones give way to other work in between. */
export const READ_PIECE_BYTES = 4 << 20;
/** How long to wait, once, for handles of a tab that just ended (a reload); then snapshots serve. */
const READ_PAUSES_MS = [20, 50, 100, 200, 400];
/** After this, a file that is read through a snapshot is tried again with a handle, ms: it is faster. */
const SNAPSHOT_LIFE_MS = 10_000;
/** A snapshot is void once its file is written to, so a reader beside a writer takes another. */
const SNAPSHOT_TRIES = 40;

/**
 * 'write': this tab holds the write lock, so a file that is held belongs to a tab that is about to go. 'read': handles where they
 * are free. 'follow': another tab writes; no handles at all, because one would keep that tab from opening its file.
 */
export type PoolMode = 'write' | 'read' | 'follow';

type Opened = {
  opening: Promise<void>;
  handle?: StoreFile;
  snapshot?: ByteSource;
  snapshotAt?: number;
  users: number;
  doomed: boolean;
  closed: Promise<void>;
  markClosed(): void;
};

export class FilePool {
  mode: PoolMode = 'read';
  private readonly opened = new Map<string, Opened>();
  /** Files on their way out: whoever opens one anew waits, because two handles of one tab exclude each other too. */
  private readonly leaving = new Map<string, Promise<void>>();
  private closed = false;
  private patient = true;

  constructor(private readonly directory: StoreDirectory) {}

  /** Runs `use` on the file's handle, which stays open meanwhile. For mode 'write'. */
  async withHandle<T>(name: string, use: (file: StoreFile) => T | Promise<T>): Promise<T> {
    return this.pin(name, ({ handle }) => {
      if (!handle) throw new EngineError('internal', `${name} is not open for writing.`);
      return use(handle);
    });
  }

  /** Fills `into`. @throws EngineError 'storage', 'not-found'; AbortError. */
  async read(name: string, byteOffset: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    if (this.mode === 'follow') return this.readBeside(name, byteOffset, into, signal);
    await this.pin(name, async (file) => {
      if (file.snapshot) return file.snapshot.read(byteOffset, into, signal);
      for (let done = 0; done < into.byteLength; ) {
        if (done > 0) {
          await giveWay();
          throwIfAborted(signal);
          if (this.closed) throw closedError(name);
        }
        done += readPiece(file.handle!, name, byteOffset + done, into.subarray(done, done + READ_PIECE_BYTES));
      }
    });
  }

  /** Closes what is open, each file when its running reads end; resolves when that is done. What is opened later is opened anew. */
  async closeHandles(): Promise<void> {
    const files = [...this.opened];
    for (const [name, file] of files) this.leave(name, file);
    await Promise.all(files.map(([, { closed }]) => closed));
  }

  /** `closeHandles`, for good: running reads end with an error at their next piece. */
  close(): Promise<void> {
    this.closed = true;
    return this.closeHandles();
  }

  private async pin<T>(name: string, use: (file: Opened) => T | Promise<T>): Promise<T> {
    const file = this.take(name);
    file.users++;
    try {
      await file.opening;
      if (this.closed) throw closedError(name);
      return await use(file);
    } finally {
      file.users--;
      if (file.doomed) this.doom(file);
    }
  }

  /** The file, now the most recently used. */
  private take(name: string): Opened {
    if (this.closed) throw closedError(name);
    let known = this.opened.get(name);
    if (known?.snapshotAt !== undefined && performance.now() - known.snapshotAt > SNAPSHOT_LIFE_MS) {
      this.leave(name, known);
      known = undefined;
    }
    this.opened.delete(name);
    const file = known ?? this.open(name);
    this.opened.set(name, file);
    for (const [other, old] of this.opened) {
      if (this.opened.size <= (this.mode === 'write' ? WRITE_HANDLES_KEPT : HANDLES_KEPT)) break;
      if (old.users === 0 && old !== file) this.leave(other, old);
    }
    return file;
  }

  private open(name: string): Opened {
    let markClosed = () => {};
    const closed = new Promise<void>((resolve) => {
      markClosed = resolve;
    });
    const file: Opened = { opening: Promise.resolve(), users: 0, doomed: false, closed, markClosed };
    file.opening = (this.leaving.get(name) ?? Promise.resolve()).then(() =>
      this.mode === 'write' ? this.openToWrite(file, name) : this.openToRead(file, name),
    );
    file.opening.catch(() => {
      if (this.opened.get(name) === file) this.leave(name, file);
    });
    return file;
  }

  private async openToWrite(file: Opened, name: string): Promise<void> {
    file.handle = await openPatiently(this.directory, name, { create: true });
  }

  private async openToRead(file: Opened, name: string): Promise<void> {
    try {
      file.handle = await openPatiently(this.directory, name, {}, this.patient ? READ_PAUSES_MS : []);
      this.patient = true;
    } catch (error) {
      if (!isHeldElsewhere(error)) throw error;
      this.patient = false; // the other tab has more files than this one
      file.snapshot = await this.directory.snapshot(name);
      file.snapshotAt = performance.now();
    }
  }

  private leave(name: string, file: Opened): void {
    this.opened.delete(name);
    const earlier = this.leaving.get(name);
    const gone = Promise.all([earlier, file.closed]).then(() => {
      if (this.leaving.get(name) === gone) this.leaving.delete(name);
    });
    this.leaving.set(name, gone);
    this.doom(file);
  }

  private doom(file: Opened): void {
    file.doomed = true;
    if (file.users > 0) return;
    const { handle, snapshot } = file;
    file.handle = undefined;
    file.snapshot = undefined;
    file.markClosed();
    snapshot?.close();
    handle?.close();
  }

  private async readBeside(name: string, byteOffset: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      throwIfAborted(signal);
      if (this.closed) throw closedError(name);
      try {
        const snapshot = await this.directory.snapshot(name);
        return await snapshot.read(byteOffset, into, signal);
      } catch (error) {
        if (attempt === SNAPSHOT_TRIES || !(error instanceof EngineError) || error.code !== 'storage') throw error;
        await pauseMs(Math.min(10 * attempt, 200), signal);
      }
    }
  }
}

/** One synchronous call. @returns bytes read, at least one. */
export function readPiece(handle: StoreFile, name: string, byteOffset: number, into: Uint8Array): number {
  let count: number;
  try {
    count = handle.read(into, { at: byteOffset });
  } catch (cause) {
    throw storageError(name, cause);
  }
  if (!(count > 0 && count <= into.byteLength)) throw shortRead(name, byteOffset, into.byteLength, 0);
  return count;
}

function closedError(name: string): EngineError {
  return new EngineError('storage', `${name} was read after its model was closed.`);
}
