/**
 * Cuts what must be read into windows: contiguous bytes of a slot or slab, small enough for one staging buffer, each with the
 * fills that write it. A window is what one read-and-upload moves.
 */
import { dtypeBytes } from '../format/types';
import { align16, type Block, type FileRange, type Fill } from './blocks';

/** Blocks that lie together, each at its own 16-byte aligned offset: what one slot of the ring holds. */
export type SlotImage = { label: string; bytes: number; blocks: { block: Block; byteOffset: number }[] };

export type PairsFill = Extract<Fill, { kind: 'pairs' }>;

/**
 * Bytes [at, at + bytes) of an image; a fill's `at` counts from the window's start. `gaps`: some bytes belong to no fill.
 * `weave`: there are no fills; these pairs lie at the window's start, and go up as `rawPairs` says, to be interleaved on the GPU.
 */
export type Window = { at: number; bytes: number; gaps: boolean; fills: Fill[]; weave?: PairsFill };

/** Pairs of a share of a window are worth one of their own to interleave them on the GPU; fewer are done sooner on the way. */
const leastWovenShare = 1 / 64;

/** Bytes that a fill writes. */
export function fillBytes(fill: Fill): number {
  switch (fill.kind) {
    case 'copy':
      return fill.from.byteLength;
    case 'rows':
      return (fill.from.byteLength / fill.rowBytes) * fill.stride;
    case 'pairs':
      return 2 * fill.scales.byteLength;
    case 'f32':
      return (fill.from.byteLength / dtypeBytes[fill.dtype]) * 4;
  }
}

/** The ranges of files that a fill reads, in the order that it wants them. */
export function sourcesOf(fill: Fill): FileRange[] {
  return fill.kind === 'pairs' ? [fill.scales, fill.biases] : [fill.from];
}

/** Scales, then biases, as they go up to be interleaved on the GPU: each from a whole word on. At most as many bytes as `fillBytes` + 4. */
export function rawPairs({ scales }: PairsFill): { biasesAt: number; bytes: number } {
  const biasesAt = Math.ceil(scales.byteLength / 4) * 4;
  return { biasesAt, bytes: 2 * biasesAt };
}

/**
 * Windows that lie back to back and cover the image. With `weave`, all but small `pairs` fills have windows of their own, which are
 * not more than `windowBytes` long in raw form either; the padding behind the pairs stays as it is.
 * @param windowBytes a multiple of 16.
 */
export function windowsOf(image: SlotImage, windowBytes: number, { weave = false }: { weave?: boolean } = {}): Window[] {
  const fills = mergeCopies(
    image.blocks.flatMap(({ block, byteOffset }) => block.fills.map((fill) => ({ ...fill, at: fill.at + byteOffset }))),
  );
  const woven = weave
    ? fills.filter((fill): fill is PairsFill => fill.kind === 'pairs' && fillBytes(fill) >= windowBytes * leastWovenShare)
    : [];
  const windows: Window[] = [];
  let at = 0;
  for (const fill of woven) {
    windows.push(...cut(fills, at, fill.at, windowBytes), ...cutWoven(fill, windowBytes));
    at = align16(fill.at + fillBytes(fill));
  }
  return [...windows, ...cut(fills, at, image.bytes, windowBytes)];
}

/** A piece that is cut off has whole words of scales, since it ends on 16 bytes: only the last one's raw form is padded, and has room. */
function cutWoven(fill: PairsFill, windowBytes: number): Window[] {
  const end = fill.at + fillBytes(fill);
  const windows: Window[] = [];
  for (let at = fill.at; at < end; at += windowBytes) {
    const [piece] = sliceFill(fill, at, at + windowBytes) as [PairsFill];
    windows.push({ at, bytes: align16(fillBytes(piece)), gaps: false, fills: [], weave: { ...piece, at: 0 } });
  }
  return windows;
}

/** Windows of bytes [begin, end). */
function cut(fills: readonly Fill[], begin: number, end: number, windowBytes: number): Window[] {
  const windows: Window[] = [];
  let first = 0; // fills are in order: those before it end before this window
  for (let at = begin; at < end; at += windowBytes) {
    const bytes = Math.min(windowBytes, end - at);
    while (first < fills.length && fills[first]!.at + fillBytes(fills[first]!) <= at) first += 1;
    const inside: Fill[] = [];
    for (let i = first; i < fills.length && fills[i]!.at < at + bytes; i++) inside.push(...sliceFill(fills[i]!, at, at + bytes));
    const covered = inside.reduce((sum, fill) => sum + fillBytes(fill), 0);
    const padded = inside.some((fill) => fill.kind === 'rows');
    windows.push({
      at,
      bytes,
      gaps: padded || covered < bytes,
      fills: inside.map((fill) => ({ ...fill, at: fill.at - at })),
    });
  }
  return windows;
}

/** Copies that go on where the one before ended, in the file and in the image, become one read. */
function mergeCopies(fills: readonly Fill[]): Fill[] {
  const merged: Fill[] = [];
  for (const fill of fills) {
    const last = merged.at(-1);
    if (last?.kind === 'copy' && fill.kind === 'copy' && follows(last, fill)) {
      last.from = { ...last.from, byteLength: last.from.byteLength + fill.from.byteLength };
    } else merged.push({ ...fill });
  }
  return merged;
}

function follows(last: Extract<Fill, { kind: 'copy' }>, next: Extract<Fill, { kind: 'copy' }>): boolean {
  const length = last.from.byteLength;
  const inFile = last.from.file === next.from.file && last.from.byteOffset + length === next.from.byteOffset;
  return inFile && last.at + length === next.at;
}

/** The part of a fill that writes bytes [begin, end), both multiples of 16 or the image's end; `at` still counts from the image's start. */
export function sliceFill(fill: Fill, begin: number, end: number): Fill[] {
  const from = Math.max(begin, fill.at) - fill.at;
  const to = Math.min(end, fill.at + fillBytes(fill)) - fill.at;
  if (to <= from) return [];
  switch (fill.kind) {
    case 'copy':
      return [{ ...fill, at: fill.at + from, from: part(fill.from, from, to) }];
    case 'pairs':
      return [
        { ...fill, at: fill.at + from, scales: part(fill.scales, from / 2, to / 2), biases: part(fill.biases, from / 2, to / 2) },
      ];
    case 'f32': {
      const width = dtypeBytes[fill.dtype] / 4;
      return [{ ...fill, at: fill.at + from, from: part(fill.from, from * width, to * width) }];
    }
    case 'rows':
      return sliceRows(fill, from, to);
  }
}

/** Whole rows stay one fill; a row that a window's edge cuts becomes a copy of its part. */
function sliceRows(fill: Extract<Fill, { kind: 'rows' }>, from: number, to: number): Fill[] {
  const { stride, rowBytes } = fill;
  const firstWhole = Math.ceil(from / stride);
  const endWhole = Math.floor(to / stride);
  const cut = (row: number): Fill[] => {
    const begin = Math.max(from - row * stride, 0);
    const end = Math.min(to - row * stride, rowBytes);
    if (end <= begin) return [];
    const range = part(fill.from, row * rowBytes + begin, row * rowBytes + end);
    return [{ kind: 'copy', at: fill.at + row * stride + begin, from: range }];
  };
  if (endWhole < firstWhole) return cut(endWhole);
  const whole: Fill[] =
    endWhole > firstWhole
      ? [{ ...fill, at: fill.at + firstWhole * stride, from: part(fill.from, firstWhole * rowBytes, endWhole * rowBytes) }]
      : [];
  return [...(from < firstWhole * stride ? cut(firstWhole - 1) : []), ...whole, ...(to > endWhole * stride ? cut(endWhole) : [])];
}

function part(range: FileRange, from: number, to: number): FileRange {
  return { file: range.file, byteOffset: range.byteOffset + from, byteLength: to - from };
}
