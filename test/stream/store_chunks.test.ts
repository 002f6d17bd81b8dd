/** Chunks of a store: every byte once, the bytes that GPU memory wants, the way back, and few requests at real sizes. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { describeCheckpoint } from '../../src/format/checkpoint';
import { parseConfig } from '../../src/format/config';
import type { CheckpointTensors, TensorInfo } from '../../src/format/types';
import { dtypeBytes } from '../../src/format/types';
import { type StoreFile, storeLayout } from '../../src/plan/store_layout';
import { fillBytes, sourcesOf, windowsOf } from '../../src/plan/windows';
import { memorySource } from '../../src/storage/memory';
import { CHUNK_LIMIT_BYTES, type SourceRange, type StoreChunk } from '../../src/storage/store/types';
import { WindowFiller } from '../../src/stream/fill';
import { storeChunks } from '../../src/stream/store_chunks';
import { layOutSynthetic } from '../../src/synth/layout';
import type { PresetName } from '../../src/synth/presets';
import { seeded } from '../format/headers';
import { type MatrixKind, type TinyShapes, tinyCheckpoint } from './checkpoints';

const mib = 1024 * 1024;

const kinds: fc.Arbitrary<MatrixKind> = fc.oneof(
  fc.record({ kind: fc.constant('float' as const), dtype: fc.constantFrom('BF16', 'F16', 'F32') }),
  fc.record({
    kind: fc.constant('affine' as const),
    bits: fc.constantFrom(3, 4, 8),
    groupSize: fc.constantFrom(32, 64),
    dtype: fc.constantFrom('BF16', 'F16', 'F32'),
  }),
);

type Made = { tensors: CheckpointTensors; files: Map<string, Uint8Array<ArrayBuffer>> };

const made: fc.Arbitrary<Made> = fc
  .record({
    layers: fc.array(fc.constantFrom('full_attention' as const, 'linear_attention' as const), { minLength: 1, maxLength: 3 }),
    floatHidden: fc.integer({ min: 1, max: 40 }),
    rows: fc.integer({ min: 1, max: 90 }),
    tied: fc.boolean(),
    kinds: fc.array(kinds, { minLength: 1, maxLength: 4 }),
    order: fc.constantFrom('name', 'use', 'random'),
    shards: fc.integer({ min: 1, max: 3 }),
    seed: fc.nat(),
  })
  .map(({ floatHidden, kinds, order, shards, seed, ...shapes }) => {
    // Affine rows are whole groups; a model of float matrices alone may have rows that GPU memory pads.
    const hidden = kinds.every(({ kind }) => kind === 'float') ? floatHidden : 64;
    return makeCheckpoint({ ...shapes, hidden }, kinds, order, shards, seeded(seed));
  });

function makeCheckpoint(
  shapes: TinyShapes,
  kinds: MatrixKind[],
  order: string,
  shards: number,
  random: (below: number) => number,
): Made {
  const { checkpoint, tensors } = tinyCheckpoint(shapes, (i) => kinds[i % kinds.length]!);
  const list = [...tensors];
  if (order === 'name') list.sort((a, b) => (a.name < b.name ? -1 : 1));
  if (order === 'random') list.sort(() => random(3) - 1);
  const ends = Array.from({ length: shards }, () => 8 + random(50)); // a header before the data, of any length
  for (const [i, tensor] of list.entries()) {
    const shard = Math.floor((i * shards) / list.length);
    if (random(8) === 0) ends[shard]! += random(3); // what someone else's tool left between tensors
    Object.assign(tensor, { file: `shard${shard}`, byteOffset: ends[shard] });
    ends[shard]! += tensor.byteLength;
  }
  const bytes = (length: number) => Uint8Array.from({ length }, () => random(256));
  return { tensors: checkpoint, files: new Map(ends.map((end, i) => [`shard${i}`, bytes(end + 5)])) };
}

const slice = (files: Made['files'], { file, byteOffset, byteLength }: SourceRange): Uint8Array =>
  files.get(file)!.subarray(byteOffset, byteOffset + byteLength);

/** What the store would hold; every byte that no chunk writes is 0xa5. */
function store(files: readonly StoreFile[], chunks: readonly StoreChunk[], originals: Made['files']) {
  const stored = new Map(files.map(({ name, byteLength }) => [name, new Uint8Array(byteLength).fill(0xa5)]));
  for (const { sources, targets, assemble } of chunks) {
    const parts = assemble(sources.map((range) => slice(originals, range)));
    for (const [i, { file, byteOffset, byteLength }] of targets.entries()) {
      if (parts[i]!.byteLength !== byteLength) throw new Error(`${file} ${byteOffset} + ${byteLength}`);
      stored.get(file)!.set(parts[i]!, byteOffset);
    }
  }
  return stored;
}

/** The same file as the loader makes it from the checkpoint, in windows of an odd size. */
async function direct({ name, byteLength, fills }: StoreFile, originals: Made['files']): Promise<Uint8Array> {
  const filler = new WindowFiller(new Map([...originals].map(([file, bytes]) => [file, memorySource(bytes, file)])));
  const bytes = new Uint8Array(byteLength);
  const block = { label: name, bytes: byteLength, fills };
  for (const window of windowsOf({ label: name, bytes: byteLength, blocks: [{ block, byteOffset: 0 }] }, 4096)) {
    const into = new Uint8Array(window.bytes);
    await filler.fill(window, into);
    bytes.set(into, window.at);
  }
  return bytes;
}

describe('random small checkpoints', () => {
  test('what is stored is what the loader makes from the checkpoint, and the gaps are left alone', async () => {
    const property = fc.asyncProperty(made, fc.constantFrom(64, 500, 4096, 4 * mib), async ({ tensors, files }, chunkBytes) => {
      const layout = storeLayout(tensors).files;
      const stored = store(layout, storeChunks(layout, chunkBytes), files);
      for (const file of layout) {
        const [found, expected] = [stored.get(file.name)!, await direct(file, files)];
        const read = new Uint8Array(file.byteLength);
        for (const fill of file.fills) read.fill(1, fill.at, fill.at + fillBytes(fill));
        for (let i = 0; i < read.byteLength; i++) if (read[i] === 0) expected[i] = 0xa5;
        expect(Buffer.compare(found, expected), file.name).toBe(0);
      }
    });
    await fc.assert(property, { numRuns: 150 });
  });

  test('each needed byte of the checkpoint is fetched once and no other; no target byte is written twice', () => {
    const property = fc.property(made, fc.constantFrom(64, 500, 4 * mib), ({ tensors, files }, chunkBytes) => {
      const layout = storeLayout(tensors).files;
      const chunks = storeChunks(layout, chunkBytes);
      const needed = count(
        layout.flatMap(({ fills }) => fills.flatMap(sourcesOf)),
        files,
      );
      const fetched = count(
        chunks.flatMap(({ sources }) => sources),
        files,
      );
      for (const [file, times] of needed) expect(Buffer.compare(fetched.get(file)!, times), file).toBe(0);
      const written = count(
        chunks.flatMap(({ targets }) => targets),
        new Map(layout.map((file) => [file.name, file])),
      );
      expect(Math.max(...[...written.values()].map((times) => times.reduce((a, b) => Math.max(a, b), 0)))).toBe(1);
    });
    fc.assert(property, { numRuns: 150 });
  });

  test('disassembling gives back what was fetched, wherever the arrays begin', () => {
    const property = fc.property(made, fc.constantFrom(64, 500, 4 * mib), fc.nat(3), ({ tensors, files }, chunkBytes, shift) => {
      const shifted = (bytes: Uint8Array) => {
        const room = new Uint8Array(bytes.byteLength + shift);
        room.set(bytes, shift);
        return room.subarray(shift);
      };
      for (const { sources, assemble, disassemble } of storeChunks(storeLayout(tensors).files, chunkBytes)) {
        const fetched = sources.map((range) => shifted(slice(files, range)));
        const back = disassemble(assemble(fetched).map(shifted));
        expect(back.length).toBe(fetched.length);
        if (fetched.some((part, k) => Buffer.compare(part, back[k]!) !== 0)) throw new Error(JSON.stringify(sources));
      }
    });
    fc.assert(property, { numRuns: 150 });
  });

  test('chunks stand in the order of the files, and small neighbours share a request', () => {
    const { checkpoint, tensors } = tinyCheckpoint({ layers: ['linear_attention'], hidden: 64, rows: 8, tied: true }, () => ({
      kind: 'affine',
      bits: 4,
      groupSize: 64,
      dtype: 'BF16',
    }));
    let at = 100;
    for (const tensor of tensors.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      Object.assign(tensor, { file: 'all', byteOffset: at });
      at += tensor.byteLength;
    }
    const layout = storeLayout(checkpoint).files;
    const chunks = storeChunks(layout);
    const order = chunks.map(({ targets }) => layout.findIndex(({ name }) => name === targets[0]!.file));
    expect(order).toEqual([...order].sort((a, b) => a - b));
    expect(requests(chunks)).toBeLessThan(tensors.length / 2);
    expect(chunks.filter(({ targets }) => targets[0]!.file === 'layers.0.mlp.bin').map(({ sources }) => sources.length)).toEqual([
      1,
    ]);
  });

  test('a row that no chunk can hold is refused', () => {
    const tensors = tinyCheckpoint({ layers: ['full_attention'], hidden: 5 * mib, rows: 1, tied: true }, () => ({
      kind: 'float',
      dtype: 'BF16',
    })).checkpoint;
    // 10 MiB a row, and not a multiple of 16 bytes, so that it is padded.
    const odd = { ...tensors, embedTokens: { ...tensors.embedTokens, cols: 5 * mib + 1 } };
    expect(() => storeChunks(storeLayout(odd).files)).toThrow(expect.objectContaining({ code: 'limit' }));
  });
});

/** Times that each byte of each file occurs in `ranges`. */
function count(ranges: readonly SourceRange[], files: ReadonlyMap<string, { byteLength: number }>): Map<string, Uint8Array> {
  const times = new Map([...files].map(([name, { byteLength }]) => [name, new Uint8Array(byteLength)]));
  for (const { file, byteOffset, byteLength } of ranges) {
    const bytes = times.get(file)!;
    if (byteOffset < 0 || byteOffset + byteLength > bytes.byteLength) throw new Error(`${file} ${byteOffset} + ${byteLength}`);
    for (let i = byteOffset; i < byteOffset + byteLength; i++) bytes[i]! += 1;
  }
  return times;
}

const requests = (chunks: readonly StoreChunk[]) => chunks.reduce((sum, { sources }) => sum + sources.length, 0);
const sum = (ranges: readonly { byteLength: number }[]) => ranges.reduce((total, { byteLength }) => total + byteLength, 0);

describe('a checkpoint of real shapes', () => {
  type Order = 'name' | 'use' | 'shuffled';
  const open = (preset: PresetName, bits: 4 | 16, order: Order): CheckpointTensors => {
    const tokenizer = { files: new Map(), endIds: [1] } as never;
    const { texts, shards } = layOutSynthetic({ preset, bits, shuffle: order === 'shuffled' }, tokenizer);
    const directory = new Map<string, TensorInfo>();
    for (const { file, head, tensors } of shards) {
      const list = order === 'name' ? [...tensors].sort((a, b) => (a.name < b.name ? -1 : 1)) : tensors;
      let byteOffset = head.byteLength;
      for (const { name, dtype, shape } of list) {
        const byteLength = shape.reduce((product, size) => product * size, dtypeBytes[dtype]);
        directory.set(name, { name, file, dtype, shape, byteOffset, byteLength });
        byteOffset += byteLength;
      }
    }
    return describeCheckpoint(parseConfig(texts.get('config.json')!, texts.get('generation_config.json')!), directory);
  };

  test.each([
    { preset: 'qwen3.5-27b', bits: 4, order: 'name' },
    { preset: 'qwen3.5-27b', bits: 4, order: 'use' },
    { preset: 'qwen3.5-27b', bits: 4, order: 'shuffled' },
    { preset: 'qwen3.5-27b', bits: 16, order: 'name' },
    { preset: 'qwen3.5-0.8b', bits: 4, order: 'name' },
    { preset: 'qwen3.5-35b-a3b', bits: 4, order: 'name' },
    { preset: 'qwen3.5-35b-a3b', bits: 16, order: 'use' },
  ] as const)('$preset at $bits bits, tensors by $order', ({ preset, bits, order }) => {
    const layout = storeLayout(open(preset, bits, order)).files;
    const chunks = storeChunks(layout);
    const fetched = sum(chunks.flatMap(({ sources }) => sources));
    const most = Math.max(...chunks.map(({ sources, targets }) => Math.max(sum(sources), sum(targets))));
    const ideal = fetched / (4 * mib);
    console.log(
      `${preset} ${bits} bits by ${order}: ${layout.length} files, ${fetched} bytes, ${chunks.length} chunks, ` +
        `${requests(chunks)} requests = ${(requests(chunks) / ideal).toFixed(3)} x bytes / 4 MiB, largest ${most}`,
    );
    expect(most).toBeLessThanOrEqual(CHUNK_LIMIT_BYTES);
    expect(requests(chunks)).toBeLessThan(1.3 * ideal + 400);
    expect(fetched).toBe(sum(layout.flatMap(({ fills }) => fills.flatMap(sourcesOf))));
  });
});
