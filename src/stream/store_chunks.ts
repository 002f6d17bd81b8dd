/**
 * Cuts the store's files into the pieces of a download. A piece fetches as few ranges as it can: small parameters that lie one
 * behind the other in the checkpoint come in one request, and a matrix's scales and biases too where they are neighbours.
 * Between targets lie alignment gaps that no fill reads; a padded row's zeros are part of its target.
 */
import { EngineError } from '../errors';
import type { FileRange, Fill } from '../plan/blocks';
import type { StoreFile } from '../plan/store_layout';
import { fillBytes, sliceFill, sourcesOf } from '../plan/windows';
import { CHUNK_LIMIT_BYTES, type SourceRange, type StoreChunk } from '../storage/store/types';
import { interleave } from './fill';

const CHUNK_BYTES = 4 << 20;

/** A part of a fill that is never cut again. `from`: where each of its sources lies in the chunk's. */
type Piece = { fill: StorableFill; from: { source: number; at: number; bytes: number }[] };
export type StorableFill = Exclude<Fill, { kind: 'f32' }>;
/** Contiguous bytes of an original file, and the fills that use them up. */
type Run = { range: SourceRange; fills: StorableFill[]; targetBytes: number };

/**
 * Chunks in the order of use; within a file they may stand in any order. Every source byte of the fills is in exactly one chunk,
 * and so is every target byte.
 * @param chunkBytes what a chunk holds on either side if it can; it may be 1.5 times as much, and whole rows.
 * @throws EngineError 'limit' if one row of a float matrix is larger than a chunk may be.
 */
export function storeChunks(files: readonly StoreFile[], chunkBytes = CHUNK_BYTES): StoreChunk[] {
  return files.flatMap(({ name, fills }) => {
    const runs: Run[] = [];
    const split: StorableFill[] = [];
    for (const fill of fills.flatMap((whole) => cutFill(whole, chunkBytes))) {
      const range = contiguous(sourcesOf(fill));
      if (range) runs.push({ range, fills: [fill], targetBytes: fillBytes(fill) });
      else split.push(fill);
    }
    const groups = [
      ...joinRuns(runs, 1.5 * chunkBytes).map(({ range, fills }) => ({ sources: [range], fills })),
      ...joinSplit(split, 1.5 * chunkBytes),
    ];
    const start = ({ fills }: { fills: StorableFill[] }) => Math.min(...fills.map(({ at }) => at));
    return groups.sort((a, b) => start(a) - start(b)).map(({ sources, fills }) => chunkOf(name, sources, fills));
  });
}

/** Fills of several ranges each: where each range goes on from the fill before, as those of one expert after another do, they are one. */
function joinSplit(split: readonly StorableFill[], mostBytes: number): { sources: SourceRange[]; fills: StorableFill[] }[] {
  const joined: { sources: SourceRange[]; fills: StorableFill[]; bytes: number }[] = [];
  const open = new Map<string, (typeof joined)[number]>(); // by where its first range ends
  for (const fill of split) {
    const ranges = sourcesOf(fill);
    const bytes = fillBytes(fill);
    const before = open.get(placeKey(ranges[0]!, 0));
    const sources = before?.sources.map((range, i) => contiguous([range, ranges[i]!]));
    if (before && before.bytes + bytes <= mostBytes && sources?.every((range) => range !== undefined)) {
      open.delete(placeKey(ranges[0]!, 0));
      before.sources = sources as SourceRange[];
      before.fills.push(fill);
      before.bytes += bytes;
      open.set(placeKey(before.sources[0]!, before.sources[0]!.byteLength), before);
      continue;
    }
    const own = { sources: ranges, fills: [fill], bytes };
    joined.push(own);
    open.set(placeKey(ranges[0]!, ranges[0]!.byteLength), own);
  }
  return joined;
}

const placeKey = ({ file, byteOffset }: SourceRange, bytes: number): string => `${byteOffset + bytes} ${file}`;

/** Even parts of about `chunkBytes`. */
function cutFill(fill: Fill, chunkBytes: number): StorableFill[] {
  if (fill.kind === 'f32') throw new EngineError('internal', 'A store keeps small parameters as they are, not as f32.');
  const bytes = fillBytes(fill);
  const count = Math.max(1, Math.round(bytes / chunkBytes));
  const unit = fill.kind === 'rows' ? fill.stride : 16;
  if (unit > CHUNK_LIMIT_BYTES) {
    throw new EngineError(
      'limit',
      `${sourcesOf(fill)[0]!.file}: a matrix has rows of ${unit} bytes; at most ${CHUNK_LIMIT_BYTES} are stored.`,
    );
  }
  const step = Math.max(unit, Math.ceil(bytes / count / unit) * unit);
  const pieces: StorableFill[] = [];
  for (let from = 0; from < bytes; from += step) {
    pieces.push(...(sliceFill(fill, fill.at + from, fill.at + Math.min(from + step, bytes)) as StorableFill[]));
  }
  return pieces;
}

/** One range where the given ones lie one behind the other, in whatever order. */
function contiguous(ranges: readonly FileRange[]): SourceRange | undefined {
  const [first, ...rest] = [...ranges].sort((a, b) => a.byteOffset - b.byteOffset);
  let { file, byteOffset, byteLength } = first!;
  for (const next of rest) {
    if (next.file !== file || next.byteOffset !== byteOffset + byteLength) return undefined;
    byteLength += next.byteLength;
  }
  return { file, byteOffset, byteLength };
}

/** Runs that go on where another ends become one, while they are small. */
function joinRuns(runs: Run[], mostBytes: number): Run[] {
  const byPlace = (a: Run, b: Run) =>
    a.range.file === b.range.file ? a.range.byteOffset - b.range.byteOffset : a.range.file < b.range.file ? -1 : 1;
  const joined: Run[] = [];
  for (const run of runs.sort(byPlace)) {
    const last = joined.at(-1);
    const range = last && contiguous([last.range, run.range]);
    if (range && range.byteLength <= mostBytes && last.targetBytes + run.targetBytes <= mostBytes) {
      last.range = range;
      last.fills.push(...run.fills);
      last.targetBytes += run.targetBytes;
    } else joined.push(run);
  }
  return joined;
}

function chunkOf(file: string, sources: readonly SourceRange[], fills: readonly StorableFill[]): StoreChunk {
  const pieces = fills.map((fill): Piece => ({ fill, from: sourcesOf(fill).map((range) => within(sources, range)) }));
  const views = ({ from }: Piece, arrays: readonly Uint8Array[]) =>
    from.map(({ source, at, bytes }) => arrays[source]!.subarray(at, at + bytes));
  return {
    sources,
    targets: fills.map((fill) => ({ file, byteOffset: fill.at, byteLength: fillBytes(fill) })),
    assemble(fetched, room = newArray) {
      const made = inTurn(
        fills.map((fill) => (fill.kind === 'copy' ? 0 : fillBytes(fill))),
        room,
      );
      return pieces.map((piece, i) => assembleFill(piece.fill, views(piece, fetched), made[i]!));
    },
    disassemble(stored, room = newArray) {
      if (fills.length === 1 && fills[0]!.kind === 'copy') return [stored[0]!];
      const originals = inTurn(
        sources.map(({ byteLength }) => byteLength),
        room,
      );
      for (const [i, piece] of pieces.entries()) disassembleFill(piece.fill, stored[i]!, views(piece, originals));
      return originals;
    },
  };
}

const newArray = (bytes: number): Uint8Array => new Uint8Array(bytes);

/** Arrays of these lengths, one behind the other. */
function inTurn(lengths: readonly number[], room: (bytes: number) => Uint8Array): Uint8Array[] {
  const sum = lengths.reduce((total, length) => total + length, 0);
  const all = sum > 0 ? room(sum) : newArray(0);
  let end = 0;
  return lengths.map((length) => {
    end += length;
    return all.subarray(end - length, end);
  });
}

function within(sources: readonly SourceRange[], { file, byteOffset, byteLength }: FileRange): Piece['from'][number] {
  const source = sources.findIndex((whole) => {
    const at = byteOffset - whole.byteOffset;
    return whole.file === file && at >= 0 && at + byteLength <= whole.byteLength;
  });
  return { source, at: byteOffset - sources[source]!.byteOffset, bytes: byteLength };
}

/** `into` has room for all but a copy. */
export function assembleFill(fill: StorableFill, from: readonly Uint8Array[], into: Uint8Array): Uint8Array {
  const [first, second] = from;
  if (fill.kind === 'copy') return first!;
  if (fill.kind === 'pairs') {
    interleave(wordAligned(first!), wordAligned(second!), into as Uint8Array<ArrayBuffer>, fill.bytes);
    return into;
  }
  into.fill(0); // the ends of padded rows
  eachRow(fill, (packed, stored) => into.set(first!.subarray(packed, packed + fill.rowBytes), stored));
  return into;
}

function disassembleFill(fill: StorableFill, stored: Uint8Array, into: readonly Uint8Array[]): void {
  const [first, second] = into;
  if (fill.kind === 'copy') first!.set(stored);
  else if (fill.kind === 'pairs') separate(stored, first!, second!, fill.bytes);
  else eachRow(fill, (packed, place) => first!.set(stored.subarray(place, place + fill.rowBytes), packed));
}

/** Byte offsets of each row, packed and padded. */
function eachRow(
  { from, rowBytes, stride }: Extract<Fill, { kind: 'rows' }>,
  visit: (packed: number, padded: number) => void,
): void {
  for (let row = 0; row * rowBytes < from.byteLength; row++) visit(row * rowBytes, row * stride);
}

/** The same bytes where 32-bit words can be read; ranges of a checkpoint begin anywhere. */
function wordAligned(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return (bytes.byteOffset % 4 === 0 ? bytes : bytes.slice()) as Uint8Array<ArrayBuffer>;
}

/** The inverse of `interleave`, byte by byte: the arrays may start anywhere, and copies to align them would be garbage. */
function separate(pairs: Uint8Array, scales: Uint8Array, biases: Uint8Array, bytes: 2 | 4): void {
  for (let at = 0; at < scales.byteLength; at += bytes) {
    for (let k = 0; k < bytes; k++) {
      scales[at + k] = pairs[2 * at + k]!;
      biases[at + k] = pairs[2 * at + bytes + k]!;
    }
  }
}
