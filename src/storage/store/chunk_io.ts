/** One chunk between network, memory and disk. */
import { EngineError, unlessAborted } from '../../errors';
import type { ByteSource } from '../byte_source';
import { sourceBytes, targetBytes } from './board';
import type { FilePool } from './file_pool';
import type { Xxh64 } from './hash';
import { DiskFull, writeAll } from './small_file';
import {
  CHUNK_LIMIT_BYTES,
  type SourceRange,
  type StoreChunk,
  type StoreManifest,
  type StoreOrigin,
  type StoreSources,
} from './types';

/** Ranges of one file that lie closer than this are fetched in one request: the gap costs less than a round trip. */
const GAP_BYTES = 32 << 10;
const HASH_PIECE_BYTES = 1 << 20;

/** One request: [byteOffset, byteOffset + byteLength) of `file`, to be put at `at` of the chunk's buffer. */
export type Run = { file: string; byteOffset: number; byteLength: number; at: number };

/** The requests of a chunk, and where each of its sources lies in the buffer that they fill. */
export type FetchPlan = { runs: Run[]; offsets: number[]; byteLength: number };

export function planFetch(sources: readonly SourceRange[]): FetchPlan {
  const order = sources.map((_, index) => index);
  order.sort((a, b) => compare(sources[a]!, sources[b]!));
  const runs: Run[] = [];
  const offsets = new Array<number>(sources.length);
  let end = 0;
  for (const index of order) {
    const { file, byteOffset, byteLength } = sources[index]!;
    let run = runs.at(-1);
    if (!run || run.file !== file || byteOffset > run.byteOffset + run.byteLength + GAP_BYTES) {
      run = { file, byteOffset, byteLength: 0, at: end };
      runs.push(run);
    }
    run.byteLength = Math.max(run.byteLength, byteOffset + byteLength - run.byteOffset);
    offsets[index] = run.at + byteOffset - run.byteOffset;
    end = run.at + run.byteLength;
  }
  return { runs: runs.filter(({ byteLength }) => byteLength > 0), offsets, byteLength: end };
}

function compare(a: SourceRange, b: SourceRange): number {
  if (a.file !== b.file) return a.file < b.file ? -1 : 1;
  return a.byteOffset - b.byteOffset;
}

/** The originals, opened once each, and refused where they are not what the manifest says. */
export class OpenSources {
  private readonly opened = new Map<string, Promise<ByteSource>>();

  constructor(
    private readonly sources: StoreSources,
    private readonly origins: readonly StoreOrigin[],
    private readonly signal: AbortSignal,
  ) {}

  async read(file: string, byteOffset: number, into: Uint8Array, signal: AbortSignal): Promise<void> {
    const source = await unlessAborted(this.open(file), signal);
    await source.read(byteOffset, into, signal);
  }

  private open(file: string): Promise<ByteSource> {
    const known = this.opened.get(file);
    if (known) return known;
    const opening = this.find(file).then((source) => this.checked(source, file));
    this.opened.set(file, opening);
    opening.catch(() => this.opened.delete(file));
    return opening;
  }

  private async find(file: string): Promise<ByteSource> {
    if (typeof this.sources === 'function') return this.sources(file, this.signal);
    const source = this.sources.get(file);
    if (!source) throw new EngineError('not-found', `There is no source for ${file}.`);
    return source;
  }

  private checked(source: ByteSource, file: string): ByteSource {
    const origin = this.origins.find((known) => known.file === file);
    const otherEtag = source.etag && origin?.etag && source.etag !== origin.etag;
    if (source.size === origin?.byteLength && !otherEtag) return source;
    if (typeof this.sources === 'function') source.close();
    throw new EngineError(
      'storage',
      `${source.label} is not the file that this download began with (${otherEtag ? 'another ETag' : `${source.size} bytes, not ${origin?.byteLength}`}). ` +
        'It changed at its server: delete the stored model and load it again.',
    );
  }

  /** Only what it opened itself. */
  close(): void {
    for (const opening of typeof this.sources === 'function' ? this.opened.values() : [])
      opening.then(
        (source) => source.close(),
        () => {},
      );
    this.opened.clear();
  }
}

/** Fetches into `buffer` (at least plan.byteLength). @returns one view per source. */
export async function fetchChunk(
  chunk: StoreChunk,
  plan: FetchPlan,
  read: (run: Run, into: Uint8Array) => Promise<void>,
  buffer: Uint8Array,
): Promise<Uint8Array[]> {
  for (const run of plan.runs) await read(run, buffer.subarray(run.at, run.at + run.byteLength));
  return chunk.sources.map(({ byteLength }, i) => buffer.subarray(plan.offsets[i]!, plan.offsets[i]! + byteLength));
}

/** @throws EngineError 'internal' where the caller's functions do not deliver what the ranges promise. */
export function assemble(chunk: StoreChunk, fetched: readonly Uint8Array[], room?: (bytes: number) => Uint8Array): Uint8Array[] {
  return checkLengths(chunk.assemble(fetched, room), chunk.targets, 'assemble');
}

export function disassemble(
  chunk: StoreChunk,
  stored: readonly Uint8Array[],
  room?: (bytes: number) => Uint8Array,
): Uint8Array[] {
  return checkLengths(chunk.disassemble(stored, room), chunk.sources, 'disassemble');
}

function checkLengths(parts: Uint8Array[], ranges: readonly { byteLength: number }[], what: string): Uint8Array[] {
  const good = parts.length === ranges.length && parts.every((part, i) => part.byteLength === ranges[i]!.byteLength);
  if (!good) throw new EngineError('internal', `A chunk's ${what} returned other lengths than its ranges have.`);
  return parts;
}

/** Written, flushed, and its length read back. @throws EngineError 'storage'; DiskFull. */
export async function writeChunk(pool: FilePool, { targets }: StoreChunk, stored: readonly Uint8Array[]): Promise<void> {
  const files = new Map<string, number>();
  for (const [i, { file, byteOffset, byteLength }] of targets.entries()) {
    await pool.withHandle(file, (handle) => writeAll(handle, file, stored[i]!, byteOffset));
    files.set(file, Math.max(files.get(file) ?? 0, byteOffset + byteLength));
  }
  for (const [file, end] of files) {
    await pool.withHandle(file, (handle) => {
      handle.flush();
      if (handle.getSize() < end) throw new DiskFull('storage', `${file} is shorter than what was written to it.`);
    });
  }
}

/** One view of `buffer` per target. @throws EngineError 'storage' where the files are too short. */
export async function readChunk(
  pool: FilePool,
  { targets }: Pick<StoreChunk, 'targets'>,
  buffer: Uint8Array,
): Promise<Uint8Array[]> {
  const stored: Uint8Array[] = [];
  let end = 0;
  for (const { file, byteOffset, byteLength } of targets) {
    const bytes = buffer.subarray(end, end + byteLength);
    await pool.read(file, byteOffset, bytes);
    stored.push(bytes);
    end += byteLength;
  }
  return stored;
}

/** Hash of what lies on disk, through a buffer of one piece; undefined where it cannot be read. */
export async function hashOnDisk(
  pool: FilePool,
  targets: StoreChunk['targets'],
  hash: Xxh64,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const buffer = new Uint8Array(HASH_PIECE_BYTES);
  async function* pieces() {
    for (const { file, byteOffset, byteLength } of targets) {
      for (let done = 0; done < byteLength; done += HASH_PIECE_BYTES) {
        const piece = buffer.subarray(0, Math.min(HASH_PIECE_BYTES, byteLength - done));
        await pool.read(file, byteOffset + done, piece, signal);
        yield piece;
      }
    }
  }
  try {
    return await hash.ofLong(pieces());
  } catch (error) {
    if (error instanceof EngineError && (error.code === 'storage' || error.code === 'not-found')) return undefined;
    throw error;
  }
}

/** @throws EngineError 'internal' for chunks that do not fit the manifest: the caller made them. */
export function checkChunks(chunks: readonly StoreChunk[], manifest: Pick<StoreManifest, 'files' | 'origins'>): void {
  const files = new Map(manifest.files.map(({ name, byteLength }) => [name, byteLength]));
  const origins = new Map(manifest.origins.map(({ file, byteLength }) => [file, byteLength]));
  for (const chunk of chunks) {
    for (const { file, byteOffset, byteLength } of chunk.targets) checkWithin(file, byteOffset, byteLength, files.get(file));
    for (const { file, byteOffset, byteLength } of chunk.sources) checkWithin(file, byteOffset, byteLength, origins.get(file));
    if (Math.max(targetBytes(chunk), sourceBytes(chunk)) > CHUNK_LIMIT_BYTES) {
      throw new EngineError('internal', `A chunk of ${chunk.targets[0]?.file} is larger than ${CHUNK_LIMIT_BYTES} bytes.`);
    }
  }
}

function checkWithin(file: string, byteOffset: number, byteLength: number, length: number | undefined): void {
  const good = length !== undefined && byteOffset >= 0 && byteLength >= 0 && byteOffset + byteLength <= length;
  if (!good)
    throw new EngineError('internal', `A chunk names bytes [${byteOffset}, +${byteLength}) of ${file}, which has ${length}.`);
}
