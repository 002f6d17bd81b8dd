/**
 * sha256 of the original files, in file order, behind a download that comes in another order. Bytes that left memory are read back
 * from disk, so the window is the disk; how far each hash came is journaled, so a restart does not begin anew.
 */
import type { IHasher } from 'hash-wasm';
import { EngineError, throwIfAborted } from '../../errors';
import type { ChunkBoard } from './board';
import { readChunk } from './chunk_io';
import type { FilePool } from './file_pool';
import type { Xxh64 } from './hash';
import type { Journal } from './journal';
import { DisassembledChunks, originSpans, type Span, spanAt } from './origin_map';
import { giveWay } from './turns';
import { headerText, type StoreOrigin, type Verified } from './types';

/** About a millisecond of hashing. */
const PIECE_BYTES = 256 << 10;
/** At most this much is hashed again after a crash. */
const SAVE_EVERY_BYTES = 64 << 20;
const GAP_PIECE_BYTES = 4 << 20;

type Walk = {
  origin: StoreOrigin;
  sha256: string;
  spans: Span[];
  position: number;
  saved: number;
  hasher?: IHasher;
};

export type HubHashOptions = {
  origins: readonly StoreOrigin[];
  board: ChunkBoard;
  journal: Journal;
  pool: FilePool;
  /** Its own: hashing gives way in between. */
  hash: Xxh64;
  readText(name: string): Promise<Uint8Array>;
  /** Fetches ranges that no chunk holds. Absent: originals with such ranges are not compared. */
  fetchGap?(file: string, byteOffset: number, into: Uint8Array): Promise<void>;
  /** A stored chunk's bytes are not what was journaled. */
  onDamaged(chunk: number): void;
};

export class HubHash {
  private readonly walks: Walk[] = [];
  private readonly chunks: DisassembledChunks;
  private damaged = false;

  constructor(private readonly options: HubHashOptions) {
    const { origins, board, journal, fetchGap } = options;
    for (const origin of origins) {
      const { file, sha256 } = origin;
      if (sha256 === undefined || journal.state.matched.has(file)) continue;
      const spans = originSpans(origin, board.chunks);
      if (!fetchGap && spans.some(({ kind }) => kind === 'gap')) continue;
      this.walks.push({ origin, sha256: sha256.toLowerCase(), spans, position: 0, saved: 0 });
    }
    this.chunks = new DisassembledChunks(board.chunks, (index, buffer) => this.readBack(index, buffer));
  }

  get hashBytes(): number {
    return this.walks.reduce((sum, { origin }) => sum + origin.byteLength, 0);
  }

  get hashedBytes(): number {
    return this.walks.reduce((sum, { position }) => sum + position, 0);
  }

  get finished(): boolean {
    return this.walks.every(({ origin }) => this.options.journal.state.matched.has(origin.file));
  }

  verified(): Verified {
    const { origins, journal } = this.options;
    if (origins.length === 0 || origins.some(({ sha256 }) => sha256 === undefined)) return 'unknown';
    return origins.every(({ file }) => journal.state.matched.has(file)) ? 'hub' : 'partial';
  }

  /**
   * Hashes what is there. @returns when nothing more can be done until another chunk is present.
   * @throws EngineError 'storage' where a sha256 does not match: the file's chunks are dropped.
   */
  async advance(signal: AbortSignal): Promise<void> {
    for (const walk of this.walks) {
      while (!this.options.journal.state.matched.has(walk.origin.file)) {
        throwIfAborted(signal);
        if (!(await this.step(walk, signal))) break;
      }
    }
    if (this.finished) this.chunks.clear();
  }

  /** Bytes of `files` are other than they were: their hashes begin anew. */
  reset(files: Iterable<string>): void {
    const { journal } = this.options;
    for (const file of new Set(files)) {
      if (journal.state.sha256.has(file) || journal.state.matched.has(file)) journal.append({ sha256: file, position: 0 });
      const walk = this.walks.find(({ origin }) => origin.file === file);
      if (walk) Object.assign(walk, { position: 0, saved: 0, hasher: undefined });
    }
  }

  /** One span. false: it is not there yet. */
  private async step(walk: Walk, signal: AbortSignal): Promise<boolean> {
    const hasher = walk.hasher ?? (await this.begin(walk));
    const span = walk.spans[spanAt(walk.spans, walk.position)];
    if (!span) {
      this.compare(walk);
      return true;
    }
    if (span.kind === 'chunk' && !this.options.board.isPresent(span.chunk)) return false;
    this.damaged = false;
    for await (const bytes of this.bytesOf(walk, span)) {
      for (let done = 0; done < bytes.byteLength; done += PIECE_BYTES) {
        await giveWay();
        throwIfAborted(signal);
        if (walk.hasher !== hasher) return true; // reset meanwhile
        const piece = bytes.subarray(done, done + PIECE_BYTES);
        hasher.update(piece);
        walk.position += piece.byteLength;
      }
    }
    if (this.damaged) return false;
    if (walk.position - walk.saved >= SAVE_EVERY_BYTES) this.save(walk);
    return true;
  }

  private async *bytesOf({ origin, position }: Walk, span: Span): AsyncGenerator<Uint8Array> {
    const skip = position - span.start;
    const length = span.end - position;
    if (span.kind === 'header') {
      yield (await this.options.readText(headerText(origin.file))).subarray(skip, skip + length);
    } else if (span.kind === 'chunk') {
      const parts = await this.chunks.get(span.chunk).catch((error: unknown) => {
        if (!this.damaged) throw error;
      });
      if (parts) yield parts[span.source]!.subarray(span.from + skip, span.from + skip + length);
    } else {
      for (let done = 0; done < length; done += GAP_PIECE_BYTES) {
        const piece = new Uint8Array(Math.min(GAP_PIECE_BYTES, length - done));
        await this.options.fetchGap!(origin.file, position + done, piece);
        yield piece;
      }
    }
  }

  private async readBack(index: number, buffer: Uint8Array): Promise<Uint8Array[]> {
    const { board, pool, hash } = this.options;
    const stored = await readChunk(pool, board.chunks[index]!, buffer).catch((error: unknown) => {
      if (error instanceof EngineError && error.code === 'storage') return undefined;
      throw error;
    });
    if (stored && (await hash.ofLong(stored)) === board.hashOf(index)) return stored;
    this.damaged = true;
    this.options.onDamaged(index);
    throw new EngineError('storage', 'A stored chunk is damaged.');
  }

  private async begin(walk: Walk): Promise<NonNullable<Walk['hasher']>> {
    // Loaded when a file is hashed, which few visits do.
    const { default: library } = await import('hash-wasm/dist/sha256.umd.min.js');
    const hasher = await library.createSHA256();
    hasher.init();
    const known = this.options.journal.state.sha256.get(walk.origin.file);
    if (known && known.position <= walk.origin.byteLength && loadState(hasher, known.state)) walk.position = known.position;
    walk.saved = walk.position;
    walk.hasher = hasher;
    return hasher;
  }

  private save(walk: Walk): void {
    const state = toHex(walk.hasher!.save());
    this.options.journal.append({ sha256: walk.origin.file, position: walk.position, state });
    walk.saved = walk.position;
  }

  private compare(walk: Walk): void {
    const { origin, sha256 } = walk;
    const digest = walk.hasher!.digest();
    walk.hasher = undefined;
    if (digest === sha256) {
      this.options.journal.append({ matched: origin.file });
      return;
    }
    this.reset([origin.file]);
    this.dropChunksOf(origin.file);
    throw new EngineError(
      'storage',
      `${origin.file} is damaged, at its source or on the way: its sha256 is ${digest.slice(0, 12)}…, and the hub names ${sha256.slice(0, 12)}…. ` +
        'What was stored of it is dropped: load the model again, and if this comes back, delete the model first.',
    );
  }

  private dropChunksOf(file: string): void {
    const { board, journal } = this.options;
    for (const [index, { sources }] of board.chunks.entries()) {
      if (!sources.some((source) => source.file === file) || !board.isPresent(index)) continue;
      journal.append({ dropped: board.ids[index]! });
      board.missing(index);
    }
  }
}

/** false where another version of the hash package wrote it. */
function loadState(hasher: NonNullable<Walk['hasher']>, state: string): boolean {
  try {
    hasher.load(fromHex(state));
    return true;
  } catch {
    hasher.init();
    return false;
  }
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function fromHex(text: string): Uint8Array {
  return Uint8Array.from({ length: text.length / 2 }, (_, i) => Number.parseInt(text.slice(2 * i, 2 * i + 2), 16));
}
