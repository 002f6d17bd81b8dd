/**
 * A file of experts for a model that exists as shapes only, so that what a budget does not hold is read from a disk: images of one expert as
 * the store lays them out, each one aligned extent. Where the file holds fewer than the model has, several experts share an image; every
 * read is a real one all the same.
 */
import { EngineError } from '../errors';
import type { StoreIndex } from '../plan/blocks';
import { type ExpertLayer, expertLayer, expertMatrices, tensorNames } from '../plan/experts';
import { sourcesOf, windowsOf } from '../plan/windows';
import type { ByteSource } from '../storage/byte_source';
import { memorySource } from '../storage/memory';
import { WindowFiller } from '../stream/fill';
import type { SyntheticDescription } from '../synth/layout';

/** The name that fills know the file by. */
const fileName = 'experts';
/** Extents begin on whole pages; the first page says what the file holds. */
const pageBytes = 4096;
/** Different ones in a file. */
const distinctImages = 16;

export type ExpertFile = {
  source: ByteSource;
  /** From one image to the next. */
  strideBytes: number;
  /** In the file, and experts of the model that share them. */
  images: number;
  experts: number;
};

/** What a file of such images begins with. */
export function expertFileHead(described: SyntheticDescription): Uint8Array<ArrayBuffer> {
  const { label: _, bytes, at, matrices } = layersOf(described)[0]!;
  const formats = Object.fromEntries(expertMatrices.map((name) => [name, matrices[name].format]));
  const head = new Uint8Array(pageBytes);
  head.set(new TextEncoder().encode(`${JSON.stringify({ sluice: 'expert images', bytes, at, formats })}\n`));
  return head;
}

export function expertStride(described: SyntheticDescription): number {
  return Math.ceil(layersOf(described)[0]!.bytes / pageBytes) * pageBytes;
}

/** Some images to fill a file with, each of `expertStride` bytes: first experts of the first layers. */
export async function expertImages(described: SyntheticDescription): Promise<Uint8Array<ArrayBuffer>[]> {
  const stride = expertStride(described);
  const images: Uint8Array<ArrayBuffer>[] = [];
  for (const layer of layersOf(described).slice(0, distinctImages)) {
    const [window] = windowsOf(layer.image(0), stride) as [ReturnType<typeof windowsOf>[number]];
    const ranges = window.fills.flatMap(sourcesOf);
    const sources = ranges.map(({ file, byteOffset, byteLength }) => [
      file,
      firstBytes(described, file, byteOffset + byteLength),
    ]);
    const into = new Uint8Array(stride);
    await new WindowFiller(new Map(sources as [string, ByteSource][])).fill(window, into);
    images.push(into);
  }
  return images;
}

/** @throws EngineError 'invalid-request' where the file was made for other shapes or holds no image. */
export async function expertFile(described: SyntheticDescription, source: ByteSource): Promise<ExpertFile> {
  const strideBytes = expertStride(described);
  const images = Math.floor((source.size - pageBytes) / strideBytes);
  const head = new Uint8Array(pageBytes);
  if (images > 0) await source.read(0, head);
  if (images < 1 || !same(head, expertFileHead(described))) {
    throw new EngineError(
      'invalid-request',
      `${source.label} is not a file of this model's experts. Name one that is not there yet, to have it made.`,
    );
  }
  return { source, strideBytes, images, experts: described.tensors.layers.length * described.config.moe!.experts };
}

/** Where each expert of the model is read, and from what. */
export function storedExperts(
  described: SyntheticDescription,
  { source, strideBytes, images }: ExpertFile,
): { stored: StoreIndex; sources: ReadonlyMap<string, ByteSource> } {
  const stored = new Map<string, { file: string; byteOffset: number }>();
  let image = 0;
  for (const { label, count, at } of layersOf(described)) {
    for (let expert = 0; expert < count; expert++, image++) {
      const byteOffset = pageBytes + (image % images) * strideBytes;
      for (const name of expertMatrices)
        stored.set(`${label}.${expert}.${tensorNames[name]}`, { file: fileName, byteOffset: byteOffset + at[name] });
    }
  }
  return { stored, sources: new Map([[fileName, source]]) };
}

/** Labelled as a plan labels them. @throws EngineError 'invalid-request' for a dense model. */
function layersOf({ tensors }: SyntheticDescription): ExpertLayer[] {
  return tensors.layers.map(({ moe }, i) => {
    if (!moe) throw new EngineError('invalid-request', 'This model has no experts.');
    return expertLayer(`layers.${i}.experts`, moe);
  });
}

function firstBytes({ contents, values }: SyntheticDescription, name: string, count: number): ByteSource {
  const bytes = new Uint8Array(count);
  let at = 0;
  for (const piece of values.pieces(contents.get(name)!)) {
    bytes.set(piece.subarray(0, count - at), at);
    at += piece.byteLength;
    if (at >= count) break;
  }
  return memorySource(bytes, name);
}

const same = (a: Uint8Array, b: Uint8Array): boolean => a.every((byte, i) => byte === b[i]);
