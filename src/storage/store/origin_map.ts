/** The way back: which chunk holds which bytes of an original file. For its sha256, and for rewriting a model from itself. */
import { EngineError } from '../../errors';
import type { ByteSource } from '../byte_source';
import { checkRange } from '../range';
import { sourceBytes, targetBytes } from './board';
import { disassemble } from './chunk_io';
import { freeBuffer } from './free_buffer';
import { headerText, type StoreChunk, type StoreOrigin } from './types';

/** [start, end) of an original: from its header text, from byte `from` of source `source` of chunk `chunk`, or in no chunk. */
export type Span = { start: number; end: number } & (
  | { kind: 'header' }
  | { kind: 'chunk'; chunk: number; source: number; from: number }
  | { kind: 'gap' }
);

/** Spans in file order, without a hole. Bytes that several chunks hold are taken from the first that reaches on. */
export function originSpans(origin: StoreOrigin, chunks: readonly StoreChunk[]): Span[] {
  const parts: { start: number; end: number; chunk: number; source: number }[] = [];
  for (const [chunk, { sources }] of chunks.entries()) {
    for (const [source, { file, byteOffset, byteLength }] of sources.entries()) {
      if (file === origin.file && byteLength > 0) parts.push({ start: byteOffset, end: byteOffset + byteLength, chunk, source });
    }
  }
  parts.sort((a, b) => a.start - b.start);
  const spans: Span[] = origin.headerBytes > 0 ? [{ kind: 'header', start: 0, end: origin.headerBytes }] : [];
  let position = origin.headerBytes;
  for (const { start, end, chunk, source } of parts) {
    if (end <= position) continue;
    if (start > position) spans.push({ kind: 'gap', start: position, end: start });
    const begin = Math.max(start, position);
    spans.push({ kind: 'chunk', start: begin, end, chunk, source, from: begin - start });
    position = end;
  }
  if (position < origin.byteLength) spans.push({ kind: 'gap', start: position, end: origin.byteLength });
  return spans;
}

type Slot = { index: number; parts: readonly Uint8Array[]; buffer: Uint8Array };

/**
 * The last two chunks in the form that they were fetched in. Neighbours in a file are often neighbours in a chunk. What `get` returned
 * is void after the next but one `get`, or `clear`: three buffers are used again and again, because garbage of this size piles up.
 */
export class DisassembledChunks {
  /** Most recent first. */
  private slots: Slot[] = [];
  private readonly spare: Uint8Array[] = [];
  /** Of a buffer that holds any chunk in either form. */
  private readonly bytes: number;

  constructor(
    private readonly chunks: readonly StoreChunk[],
    /** Reads the stored bytes into the buffer given, one view of it per target. */
    private readonly readStored: (chunk: number, buffer: Uint8Array) => Promise<Uint8Array[]>,
  ) {
    this.bytes = chunks.reduce((most, chunk) => Math.max(most, targetBytes(chunk), sourceBytes(chunk)), 0);
  }

  async get(index: number): Promise<readonly Uint8Array[]> {
    const known = this.slots.find((slot) => slot.index === index);
    if (known) {
      this.slots = [known, ...this.slots.filter((slot) => slot !== known)];
      return known.parts;
    }
    const oldest = this.slots.length === 2 ? this.slots.pop() : undefined;
    if (oldest) this.spare.push(oldest.buffer);
    const buffers = [this.take()];
    const room = (bytes: number) => {
      buffers.unshift(this.take());
      return buffers[0]!.subarray(0, bytes);
    };
    try {
      const parts = disassemble(this.chunks[index]!, await this.readStored(index, buffers[0]!), room);
      this.slots = [{ index, parts, buffer: buffers.shift()! }, ...this.slots];
      return parts;
    } finally {
      this.spare.push(...buffers);
    }
  }

  /** What `get` returned last must be in use no more. */
  clear(): void {
    for (const buffer of [...this.spare.splice(0), ...this.slots.map((slot) => slot.buffer)]) freeBuffer(buffer);
    this.slots = [];
  }

  private take(): Uint8Array {
    return this.spare.pop() ?? new Uint8Array(this.bytes);
  }
}

/** An original file made from stored chunks. A range that no chunk holds is an EngineError 'storage'. */
export function originSource(
  origin: StoreOrigin,
  chunks: readonly StoreChunk[],
  stored: DisassembledChunks,
  readText: (name: string) => Promise<Uint8Array>,
): ByteSource {
  const spans = originSpans(origin, chunks);
  const source: ByteSource = {
    label: origin.file,
    size: origin.byteLength,
    async read(byteOffset, into) {
      checkRange(source, byteOffset, into.byteLength);
      const end = byteOffset + into.byteLength;
      for (let i = spanAt(spans, byteOffset); i < spans.length && spans[i]!.start < end; i++) {
        const span = spans[i]!;
        const start = Math.max(span.start, byteOffset);
        const stop = Math.min(span.end, end);
        if (span.kind === 'gap') {
          throw new EngineError(
            'storage',
            `The stored model does not hold bytes [${start}, ${stop}) of ${origin.file}, which the new layout needs. Download it again.`,
          );
        }
        const bytes =
          span.kind === 'header' ? await readText(headerText(origin.file)) : (await stored.get(span.chunk))[span.source]!;
        const from = span.kind === 'header' ? 0 : span.from;
        into.set(bytes.subarray(from + start - span.start, from + stop - span.start), start - byteOffset);
      }
    },
    close() {},
  };
  return source;
}

/** Index of the span that holds `position`; spans.length at the end. */
export function spanAt(spans: readonly Span[], position: number): number {
  let low = 0;
  let high = spans.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (spans[middle]!.end > position) high = middle;
    else low = middle + 1;
  }
  return low;
}
