/**
 * What is stored, as an append-only file of lines `JSON hash`. A chunk is present because a line says so; a line that was cut off or
 * damaged says nothing. Lines hold their chunk's identity and place and not its number, so a changed list of chunks keeps what it can.
 */
import type { StoreDirectory, StoreFile } from './directory';
import type { Xxh64 } from './hash';
import { openPatiently, writePiece } from './small_file';
import type { StoreChunk, StoreTarget } from './types';

const JOURNAL = 'journal';

export type JournalLine =
  /** The chunk `id` lies in `targets` and its bytes, concatenated, have this hash. */
  | { present: string; hash: string; targets: [file: string, byteOffset: number, byteLength: number][] }
  | { dropped: string }
  /** sha256 of the original `file`: its state after `position` bytes (hex), or undefined to start anew. */
  | { sha256: string; position: number; state?: string }
  /** The sha256 of the original file matched. */
  | { matched: string };

export type PresentChunk = { hash: string; targets: StoreTarget[] };

/** The lines, added up. */
export class StoredState {
  readonly present = new Map<string, PresentChunk>();
  /** Last known hash of chunks that were dropped: the same bytes again change nothing. */
  readonly dropped = new Map<string, string>();
  readonly sha256 = new Map<string, { position: number; state: string }>();
  readonly matched = new Set<string>();

  apply(line: JournalLine): void {
    if ('present' in line) {
      const targets = line.targets.map(([file, byteOffset, byteLength]) => ({ file, byteOffset, byteLength }));
      this.present.set(line.present, { hash: line.hash, targets });
    } else if ('dropped' in line) {
      const known = this.present.get(line.dropped);
      if (known) this.dropped.set(line.dropped, known.hash);
      this.present.delete(line.dropped);
    } else if ('sha256' in line) {
      this.matched.delete(line.sha256);
      if (line.state === undefined) this.sha256.delete(line.sha256);
      else this.sha256.set(line.sha256, { position: line.position, state: line.state });
    } else {
      this.matched.add(line.matched);
      this.sha256.delete(line.matched);
    }
  }

  storedBytes(): number {
    let sum = 0;
    for (const { targets } of this.present.values()) for (const { byteLength } of targets) sum += byteLength;
    return sum;
  }
}

/** The writing side: one tab, which holds the write lock. */
export class Journal {
  private constructor(
    private readonly file: StoreFile,
    private readonly hash: Xxh64,
    readonly state: StoredState,
    private end: number,
  ) {}

  /** Reads what is there and cuts a torn tail off. */
  static async open(directory: StoreDirectory, hash: Xxh64): Promise<Journal> {
    const file = await openPatiently(directory, JOURNAL, { create: true });
    const bytes = new Uint8Array(file.getSize());
    const count = bytes.byteLength > 0 ? file.read(bytes, { at: 0 }) : 0;
    const state = new StoredState();
    const end = replay(bytes.subarray(0, count), hash, state);
    if (end < file.getSize()) file.truncate(end);
    return new Journal(file, hash, state, end);
  }

  /** On disk when it returns. A line that could not be written whole is taken back. @throws EngineError 'storage'. */
  append(line: JournalLine): void {
    const bytes = formatLine(line, this.hash);
    try {
      for (let done = 0; done < bytes.byteLength; ) {
        done += writePiece(this.file, JOURNAL, bytes.subarray(done), this.end + done);
      }
      this.file.flush();
    } catch (error) {
      this.takeBack();
      throw error;
    }
    this.end += bytes.byteLength;
    this.state.apply(line);
  }

  private takeBack(): void {
    try {
      this.file.truncate(this.end);
    } catch {
      // What was written of the line is no line, so the next start ignores it.
    }
  }

  close(): void {
    this.file.close();
  }
}

/** The reading side: what another tab appends, as it appears. */
export class JournalFollower {
  state = new StoredState();
  private position = 0;

  constructor(
    private readonly directory: StoreDirectory,
    private readonly hash: Xxh64,
  ) {}

  /** true if anything changed. A read that meets a write is left to the next call. */
  async poll(): Promise<boolean> {
    const bytes = await this.readTail().catch(() => undefined);
    if (!bytes) return false;
    const end = replay(bytes, this.hash, this.state);
    this.position += end;
    return end > 0;
  }

  private async readTail(): Promise<Uint8Array> {
    const source = await this.directory.snapshot(JOURNAL);
    if (source.size < this.position) {
      // Another tab took over and cut a torn tail off.
      this.position = 0;
      this.state = new StoredState();
    }
    const bytes = new Uint8Array(source.size - this.position);
    await source.read(this.position, bytes);
    return bytes;
  }
}

export async function readJournal(directory: StoreDirectory, hash: Xxh64): Promise<StoredState> {
  const follower = new JournalFollower(directory, hash);
  await follower.poll();
  return follower.state;
}

const NEWLINE = 10;

/** Applies every whole line and returns the length up to the last newline. */
export function replay(bytes: Uint8Array, hash: Xxh64, state: StoredState): number {
  let start = 0;
  for (;;) {
    const end = bytes.indexOf(NEWLINE, start);
    if (end < 0) return start;
    const line = parseLine(bytes.subarray(start, end), hash);
    if (line) state.apply(line);
    start = end + 1;
  }
}

const DIGEST_LENGTH = 16;

export function formatLine(line: JournalLine, hash: Xxh64): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify(line));
  const digest = new TextEncoder().encode(` ${hash.of([json])}\n`);
  const bytes = new Uint8Array(json.byteLength + digest.byteLength);
  bytes.set(json);
  bytes.set(digest, json.byteLength);
  return bytes;
}

function parseLine(line: Uint8Array, hash: Xxh64): JournalLine | undefined {
  const json = line.subarray(0, Math.max(0, line.byteLength - DIGEST_LENGTH - 1));
  const digest = new TextDecoder().decode(line.subarray(json.byteLength));
  // The hash was made over JSON that this class wrote, so a line that has it parses.
  return digest === ` ${hash.of([json])}` ? (JSON.parse(new TextDecoder().decode(json)) as JournalLine) : undefined;
}

/** Names a chunk by what it holds and where it lies. */
export function chunkId(chunk: StoreChunk, hash: Xxh64): string {
  const range = ({ file, byteOffset, byteLength }: StoreTarget) => [file, byteOffset, byteLength];
  return hash.of([new TextEncoder().encode(JSON.stringify([chunk.sources.map(range), chunk.targets.map(range)]))]);
}
