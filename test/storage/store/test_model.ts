/**
 * A small model to store, made of seeded bytes: two originals whose tensors are sorted by name, and a repacked layout in the order of
 * use. Runs in Node and in browsers.
 */
import { headerText, type SourceRange, type StoreChunk, type StoreManifest } from '../../../src/storage/store/types';

export type TestModelOptions = {
  seed?: number;
  layers?: number;
  /** Bytes of a layer's weight, of its scales, and of its biases. */
  weightBytes?: number;
  scaleBytes?: number;
  /** Of a tensor that the store skips, in the second original; 0: none. */
  skippedBytes?: number;
  chunkBytes?: number;
  /** 1: a file per layer, scales and biases interleaved in pairs of 2 bytes. 2: a file per two layers, one after the other. */
  layoutVersion?: 1 | 2;
  key?: string;
  revision?: string;
};

export type TestModel = {
  manifest: StoreManifest;
  chunks: StoreChunk[];
  originals: Map<string, Uint8Array<ArrayBuffer>>;
  /** What each file of the store must hold when complete. */
  expected: Map<string, Uint8Array>;
};

type Tensor = { file: string; byteOffset: number; byteLength: number };

const HEADER_BYTES = 300;

/** Without sha256: `withSha256` adds them. */
export function testModel(options: TestModelOptions = {}): TestModel {
  const { seed = 1, layers = 6, weightBytes = 200_000, scaleBytes = 10_000, skippedBytes = 0 } = options;
  const { chunkBytes = 64 << 10, layoutVersion = 1, key = 'acme/tiny@main', revision } = options;
  const tensors = new Map<string, Tensor>();
  const originals = new Map<string, Uint8Array<ArrayBuffer>>();
  for (const [shard, file] of ['a.safetensors', 'b.safetensors'].entries()) {
    let end = HEADER_BYTES;
    const place = (name: string, byteLength: number) => {
      tensors.set(name, { file, byteOffset: end, byteLength });
      end += byteLength;
    };
    for (let layer = shard; layer < layers; layer += 2) {
      place(`${layer}.biases`, scaleBytes);
      place(`${layer}.scales`, scaleBytes);
      place(`${layer}.weight`, weightBytes);
    }
    if (shard === 1 && skippedBytes > 0) place('vision', skippedBytes);
    originals.set(file, seededBytes(end, seed + shard));
  }
  const layout = layoutVersion === 1 ? layerFiles : pairFiles;
  const chunks = layout(layers, tensors, chunkBytes);
  const expected = expectedFiles(chunks, originals);
  const manifest: StoreManifest = {
    ...{ key, label: key.split('@')[0]!, revision, layoutVersion },
    texts: {
      'config.json': new TextEncoder().encode(`{"seed":${seed}}`),
      ...Object.fromEntries([...originals].map(([file, bytes]) => [headerText(file), bytes.slice(0, HEADER_BYTES)])),
    },
    files: [...expected].map(([name, { byteLength }]) => ({ name, byteLength })),
    origins: [...originals].map(([file, { byteLength }]) => ({ file, byteLength, headerBytes: HEADER_BYTES })),
  };
  return { manifest, chunks, originals, expected };
}

/** Layers are used last to first, so that the order of use is not the order of the file. */
function layerFiles(layers: number, tensors: Map<string, Tensor>, chunkBytes: number): StoreChunk[] {
  const chunks: StoreChunk[] = [];
  for (let layer = layers - 1; layer >= 0; layer--) {
    const file = `layer-${layer}`;
    const [scales, biases, weight] = ['scales', 'biases', 'weight'].map((part) => tensors.get(`${layer}.${part}`)!);
    const pairBytes = scales!.byteLength + biases!.byteLength;
    chunks.push({
      sources: [scales!, biases!],
      targets: [{ file, byteOffset: 0, byteLength: pairBytes }],
      assemble: ([s, b]) => [interleave(s!, b!)],
      disassemble: ([pairs]) => separate(pairs!),
    });
    chunks.push(...copies(weight!, file, pairBytes, chunkBytes));
  }
  return chunks;
}

function pairFiles(layers: number, tensors: Map<string, Tensor>, chunkBytes: number): StoreChunk[] {
  const chunks: StoreChunk[] = [];
  const ends = new Map<string, number>();
  for (let layer = 0; layer < layers; layer++) {
    const file = `pair-${layer >> 1}`;
    for (const part of ['weight', 'scales', 'biases']) {
      const tensor = tensors.get(`${layer}.${part}`)!;
      const at = ends.get(file) ?? 0;
      chunks.push(...copies(tensor, file, at, chunkBytes));
      ends.set(file, at + tensor.byteLength);
    }
  }
  return chunks;
}

function copies(tensor: Tensor, file: string, at: number, chunkBytes: number): StoreChunk[] {
  const chunks: StoreChunk[] = [];
  for (let done = 0; done < tensor.byteLength; done += chunkBytes) {
    const byteLength = Math.min(chunkBytes, tensor.byteLength - done);
    chunks.push({
      sources: [{ file: tensor.file, byteOffset: tensor.byteOffset + done, byteLength }],
      targets: [{ file, byteOffset: at + done, byteLength }],
      assemble: (parts) => [...parts],
      disassemble: (parts) => [...parts],
    });
  }
  return chunks;
}

function interleave(scales: Uint8Array, biases: Uint8Array): Uint8Array {
  const pairs = new Uint8Array(2 * scales.byteLength);
  for (let i = 0; i < scales.byteLength; i += 2) {
    pairs.set(scales.subarray(i, i + 2), 2 * i);
    pairs.set(biases.subarray(i, i + 2), 2 * i + 2);
  }
  return pairs;
}

function separate(pairs: Uint8Array): Uint8Array[] {
  const scales = new Uint8Array(pairs.byteLength / 2);
  const biases = new Uint8Array(pairs.byteLength / 2);
  for (let i = 0; i < scales.byteLength; i += 2) {
    scales.set(pairs.subarray(2 * i, 2 * i + 2), i);
    biases.set(pairs.subarray(2 * i + 2, 2 * i + 4), i);
  }
  return [scales, biases];
}

function expectedFiles(chunks: StoreChunk[], originals: Map<string, Uint8Array>): Map<string, Uint8Array> {
  const lengths = new Map<string, number>();
  for (const { file, byteOffset, byteLength } of chunks.flatMap(({ targets }) => targets)) {
    lengths.set(file, Math.max(lengths.get(file) ?? 0, byteOffset + byteLength));
  }
  const files = new Map([...lengths].map(([name, length]) => [name, new Uint8Array(length)]));
  const bytesOf = ({ file, byteOffset, byteLength }: SourceRange) =>
    originals.get(file)!.subarray(byteOffset, byteOffset + byteLength);
  for (const chunk of chunks) {
    const stored = chunk.assemble(chunk.sources.map(bytesOf));
    for (const [i, { file, byteOffset }] of chunk.targets.entries()) files.get(file)!.set(stored[i]!, byteOffset);
  }
  return files;
}

/** With the true sha256 of each original, or what `change` makes of it. */
export async function withSha256(model: TestModel, change = (hex: string, _file: string) => hex): Promise<TestModel> {
  const origins = await Promise.all(
    model.manifest.origins.map(async (origin) => {
      const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', model.originals.get(origin.file)!));
      const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
      return { ...origin, sha256: change(hex, origin.file) };
    }),
  );
  return { ...model, manifest: { ...model.manifest, origins } };
}

/** xorshift32: the same bytes everywhere. */
export function seededBytes(length: number, seed: number): Uint8Array<ArrayBuffer> {
  let state = Math.imul(seed, 2_654_435_761) | 1;
  const words = new Uint32Array(Math.ceil(length / 4));
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return new Uint8Array(words.buffer, 0, length).slice();
}
