/** How weights get from a file into a slab: the layout of blocks, the pieces that fill them, and where blocks lie. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { affine, bf16, f16, f32, q3, q4 } from '../../src/cases/formats';
import { random, randomMatrix, type TestMatrix, uniform } from '../../src/cases/harness';
import { EngineError } from '../../src/errors';
import type { Dtype, FloatDtype, MatrixFormat, MatrixSource, StorageDtype, TensorInfo } from '../../src/format/types';
import { bf16Bits, bf16Value, halfBits, halfValue } from '../../src/kernels/reference/half';
import { type Block, matrixFormat, rowStrides, vectorBlock } from '../../src/plan/blocks';
import { placeImages, slabBytesFor } from '../../src/plan/placement';
import { Packer } from '../../src/plan/units';
import { windowsOf } from '../../src/plan/windows';
import { memorySource } from '../../src/storage/memory';
import { toFloat32, WindowFiller } from '../../src/stream/fill';

const fileDtype: Record<StorageDtype, FloatDtype> = { bf16: 'BF16', f16: 'F16', f32: 'F32' };

/** A file under construction. Tensors follow each other without alignment, from an odd byte on. */
class File {
  readonly name: string;
  #bytes: number[] = [0xa5];

  constructor(name: string) {
    this.name = name;
  }

  tensor(name: string, dtype: Dtype, shape: number[], bytes: Uint8Array): TensorInfo {
    const byteOffset = this.#bytes.length;
    for (const byte of bytes) this.#bytes.push(byte);
    if (this.#bytes.length % 2 === 0) this.#bytes.push(0xa5);
    return { name, file: this.name, dtype, shape, byteOffset, byteLength: bytes.byteLength };
  }

  sources() {
    return new Map([[this.name, memorySource(Uint8Array.from(this.#bytes), this.name)]]);
  }
}

/** A test matrix as a checkpoint stores it: words, scales and biases apart, float rows without padding. */
function store(file: File, { rows, cols, format, block }: TestMatrix): MatrixSource {
  const { bytes, pairsAt } = block(0, rows);
  if (format.kind === 'float') {
    const size = format.dtype === 'f32' ? 4 : 2;
    const stride = bytes.byteLength / rows;
    const packed = new Uint8Array(rows * cols * size);
    for (let r = 0; r < rows; r++) packed.set(bytes.subarray(r * stride, r * stride + cols * size), r * cols * size);
    const dtype = fileDtype[format.dtype];
    return { kind: 'float', rows, cols, dtype, weight: file.tensor('weight', dtype, [rows, cols], packed) };
  }
  const { bits, group, pair } = format;
  const size = pair === 'f32' ? 4 : 2;
  const groups = (rows * cols) / group;
  const half = (offset: number) => {
    const own = new Uint8Array(groups * size);
    for (let i = 0; i < groups; i++) {
      const at = pairsAt + 2 * i * size + offset;
      own.set(bytes.subarray(at, at + size), i * size);
    }
    return own;
  };
  const words = bytes.subarray(0, (rows * cols * bits) / 8);
  const grouped = [rows, cols / group];
  return {
    kind: 'affine',
    rows,
    cols,
    bits,
    groupSize: group,
    weight: file.tensor('weight', 'U32', [rows, (cols * bits) / 32], words),
    scales: file.tensor('scales', fileDtype[pair], grouped, half(0)),
    biases: file.tensor('biases', fileDtype[pair], grouped, half(size)),
  };
}

const pieceBytes = 4 * 1024 * 1024;

/** A block as the GPU would hold it, filled window by window over junk, as reused staging buffers are. */
async function filled(block: Block, sources: ReturnType<File['sources']>) {
  const bytes = new Uint8Array(block.bytes);
  const filler = new WindowFiller(sources);
  let largest = 0;
  for (const window of windowsOf({ label: 'image', bytes: block.bytes, blocks: [{ block, byteOffset: 0 }] }, pieceBytes)) {
    expect(window.at % 16).toBe(0);
    const staging = new Uint8Array(pieceBytes).fill(0xa5);
    await filler.fill(window, staging);
    bytes.set(staging.subarray(0, window.bytes), window.at);
    largest = Math.max(largest, window.bytes);
  }
  return { bytes, largest };
}

const matrixBlocks = (label: string, source: MatrixSource, slotBytes: number) =>
  new Packer('unit', 'mlp', { slotBytes, residentEmbedding: true }).add(label, source);

const mib = 1024 * 1024;

describe('a matrix', () => {
  const formats: { format: MatrixFormat; rows: number; cols: number; why: string }[] = [
    { format: q4(64, 'bf16'), rows: 5, cols: 128, why: 'the usual format' },
    { format: q3(32, 'f16'), rows: 3, cols: 96, why: 'words that end off 16 bytes: the pairs begin behind padding' },
    { format: q4(32, 'f32'), rows: 3, cols: 32, why: 'pairs of f32' },
    { format: affine(8, 128, 'bf16'), rows: 1, cols: 128, why: 'one pair in all' },
    { format: bf16, rows: 3, cols: 36, why: 'rows of 72 bytes, 80 apart' },
    { format: bf16, rows: 3, cols: 40, why: 'rows of 80 bytes, without padding' },
    { format: f16, rows: 2, cols: 4, why: 'rows of 8 bytes, 16 apart' },
    { format: f32, rows: 3, cols: 20, why: 'f32 rows need no padding' },
  ];

  test.each(formats)('$rows x $cols, $format.kind: $why', async ({ format, rows, cols }) => {
    const matrix = randomMatrix(random(1), rows, cols, format);
    const file = new File('model');
    const source = store(file, matrix);
    const blocks = matrixBlocks('w', source, mib);
    expect(matrixFormat(source)).toEqual(format);
    expect(blocks.parts.map(({ firstRow, rows }) => [firstRow, rows])).toEqual([[0, rows]]);
    const want = matrix.block(0, rows);
    expect(blocks.parts[0]!.block.label).toBe('w');
    expect(blocks.parts[0]!.pairsAt).toBe(want.pairsAt);
    expect(blocks.parts[0]!.block.bytes % 16).toBe(0);
    const { bytes } = await filled(blocks.parts[0]!.block, file.sources());
    expect(bytes).toEqual(want.bytes);
  });

  test.each(formats)('$rows x $cols, $format.kind, one row a part', async ({ format, rows, cols }) => {
    const matrix = randomMatrix(random(2), rows, cols, format);
    const file = new File('model');
    const one = matrix.block(0, 1).bytes.byteLength;
    const blocks = matrixBlocks('w', store(file, matrix), one);
    expect(blocks.parts.length).toBe(rows);
    for (const [r, part] of blocks.parts.entries()) {
      expect([part.firstRow, part.rows]).toEqual([r, 1]);
      expect((await filled(part.block, file.sources())).bytes).toEqual(matrix.block(r, 1).bytes);
    }
  });

  test('strides: u32 and groups of an affine row, 16-byte units of a float one', () => {
    const strides = (format: MatrixFormat, cols: number) => rowStrides({ rows: 1, cols, format, parts: [] });
    expect(strides(q3(32, 'bf16'), 96)).toEqual([9, 3]);
    expect(strides(q4(64, 'f32'), 576)).toEqual([72, 9]);
    expect(strides(bf16, 36)).toEqual([5, 0]);
    expect(strides(f32, 36)).toEqual([9, 0]);
  });

  test('parts cover every row once, and none is larger than it may be', () => {
    const format = fc.constantFrom<MatrixFormat>(q4(64, 'bf16'), q3(32, 'f16'), q4(32, 'f32'), bf16, f16, f32);
    const tensor = (byteLength: number): TensorInfo => ({
      name: 't',
      file: 'f',
      dtype: 'U8',
      shape: [],
      byteOffset: 1,
      byteLength,
    });
    fc.assert(
      fc.property(
        format,
        fc.integer({ min: 1, max: 5000 }),
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 0, max: 20_000 }),
        (format, rows, blocks, extra) => {
          const cols = 64 * blocks;
          const float = (dtype: StorageDtype, count: number) => ({
            ...tensor(count * (dtype === 'f32' ? 4 : 2)),
            dtype: fileDtype[dtype],
          });
          const source: MatrixSource =
            format.kind === 'float'
              ? { kind: 'float', rows, cols, dtype: fileDtype[format.dtype], weight: float(format.dtype, rows * cols) }
              : {
                  kind: 'affine',
                  rows,
                  cols,
                  bits: format.bits,
                  groupSize: format.group,
                  weight: tensor((rows * cols * format.bits) / 8),
                  scales: float(format.pair, (rows * cols) / format.group),
                  biases: float(format.pair, (rows * cols) / format.group),
                };
          const most = 4 * cols + 8 * cols + 32 + extra; // room for any format's row
          let next = 0;
          for (const part of matrixBlocks('w', source, most).parts) {
            expect(part.firstRow).toBe(next);
            expect(part.rows).toBeGreaterThan(0);
            expect(part.block.bytes).toBeLessThanOrEqual(most);
            expect(part.block.bytes % 16).toBe(0);
            for (const fill of part.block.fills) expect(fill.at % 16).toBe(0);
            next += part.rows;
          }
          expect(next).toBe(rows);
        },
      ),
    );
  });

  test('of which not one row fits is a budget error', () => {
    const file = new File('model');
    const source = store(file, randomMatrix(random(3), 2, 64, f32));
    expect(() => matrixBlocks('w', source, 240)).toThrow(EngineError);
    expect(() => matrixBlocks('w', source, 240)).toThrow('one row takes 256 bytes');
  });
});

describe('pieces', () => {
  /** Byte i of a large file; a table would be slower to build than to compute. */
  const byteAt = (i: number) => (Math.imul(i, 2_654_435_761) >>> 24) ^ (i & 255);
  const size = 11 * mib + 3;
  const big = Uint8Array.from({ length: size }, (_, i) => byteAt(i));
  const sources = new Map([['big', memorySource(big, 'big')]]);
  const block = (bytes: number, fill: Block['fills'][number]): Block => ({ label: 'b', bytes, fills: [fill] });

  test('a long copy comes in pieces, the last one padded to four bytes', async () => {
    const from = { file: 'big', byteOffset: 1, byteLength: 9 * mib + 1 };
    const { bytes, largest } = await filled(block(9 * mib + 16, { kind: 'copy', at: 0, from }), sources);
    expect(largest).toBe(pieceBytes);
    expect(Buffer.compare(bytes.subarray(0, from.byteLength), big.subarray(1, 1 + from.byteLength))).toBe(0);
    expect(bytes.subarray(from.byteLength).every((byte) => byte === 0)).toBe(true);
  });

  test('rows are padded across pieces', async () => {
    const [rowBytes, stride, rows] = [1000, 1008, 9001];
    const from = { file: 'big', byteOffset: 3, byteLength: rows * rowBytes };
    const { bytes, largest } = await filled(block(rows * stride, { kind: 'rows', at: 0, from, rowBytes, stride }), sources);
    expect(largest).toBeLessThanOrEqual(pieceBytes);
    for (const r of [0, 1, 4160, 4161, 4162, 8321, 8322, 9000]) {
      expect(bytes.subarray(r * stride, r * stride + rowBytes)).toEqual(big.slice(3 + r * rowBytes, 3 + (r + 1) * rowBytes));
      expect(bytes.subarray(r * stride + rowBytes, (r + 1) * stride)).toEqual(new Uint8Array(8));
    }
  });

  test.each([2, 4] as const)('pairs of %i-byte numbers interleave across pieces', async (width) => {
    const byteLength = 5 * mib + 4;
    const scales = { file: 'big', byteOffset: 1, byteLength };
    const biases = { file: 'big', byteOffset: 6 * mib - 1, byteLength };
    const at = 32;
    const { bytes, largest } = await filled(
      block(at + 2 * byteLength, { kind: 'pairs', at, scales, biases, bytes: width }),
      sources,
    );
    expect(largest).toBe(pieceBytes);
    for (const i of [0, 1, 524_287, 524_288, 1_048_575, 1_048_576, byteLength / width - 1]) {
      const pair = bytes.subarray(at + 2 * i * width, at + 2 * (i + 1) * width);
      const from = (start: number) => [...big.subarray(start + i * width, start + (i + 1) * width)];
      expect([...pair]).toEqual([...from(scales.byteOffset), ...from(biases.byteOffset)]);
    }
  });

  test('an aborted signal ends a fill', async () => {
    const from = { file: 'big', byteOffset: 0, byteLength: mib };
    const window = { at: 0, bytes: mib, gaps: false, fills: [{ kind: 'copy' as const, at: 0, from }] };
    const fill = new WindowFiller(sources).fill(window, new Uint8Array(mib), AbortSignal.abort());
    await expect(fill).rejects.toMatchObject({ name: 'AbortError' });
  });

  test('windows of any size make the same bytes', async () => {
    const [rowBytes, stride, rows] = [1000, 1008, 301];
    const copied = { file: 'big', byteOffset: 7, byteLength: 4096 };
    const block: Block = {
      label: 'b',
      bytes: rows * stride + 4096 + 2048,
      fills: [
        { kind: 'rows', at: 0, from: { file: 'big', byteOffset: 3, byteLength: rows * rowBytes }, rowBytes, stride },
        { kind: 'copy', at: rows * stride, from: copied },
        {
          kind: 'pairs',
          at: rows * stride + 4096,
          scales: { file: 'big', byteOffset: 11, byteLength: 1024 },
          biases: { file: 'big', byteOffset: 5000, byteLength: 1024 },
          bytes: 2,
        },
      ],
    };
    const image = { label: 'i', bytes: block.bytes, blocks: [{ block, byteOffset: 0 }] };
    const { bytes: whole } = await filled(block, sources);
    for (const windowBytes of [16, 256, 1008, 4096, 65_536]) {
      const bytes = new Uint8Array(block.bytes);
      const filler = new WindowFiller(sources);
      for (const window of windowsOf(image, windowBytes)) {
        const staging = new Uint8Array(windowBytes).fill(0x5a);
        await filler.fill(window, staging);
        bytes.set(staging.subarray(0, window.bytes), window.at);
      }
      expect(Buffer.compare(bytes, whole)).toBe(0);
    }
  });
});

describe('small parameters', () => {
  test('lie one after another as f32, from any dtype, each on 16 bytes, transformed where asked', async () => {
    const file = new File('model');
    const values = Float32Array.of(-1.5, 0, 0.375, 2, 1e-3);
    const halves = (bits: (value: number) => number) => new Uint8Array(Uint16Array.from(values, bits).buffer);
    const shape = [values.length];
    const source = (tensor: TensorInfo, add: 0 | 1 = 0) => ({ length: values.length, tensor, add });
    const { block, at } = vectorBlock('vectors', {
      plain: source(file.tensor('plain', 'F32', shape, new Uint8Array(values.buffer))),
      centred: source(file.tensor('centred', 'BF16', shape, halves(bf16Bits)), 1),
      half: source(file.tensor('half', 'F16', shape, halves(halfBits))),
      negExpA: { vector: source(file.tensor('aLog', 'F32', shape, new Uint8Array(values.buffer))), transform: 'negExp' },
    });
    expect(at).toEqual({ plain: 0, centred: 32, half: 64, negExpA: 96 });
    expect(block.bytes).toBe(128);
    const { bytes } = await filled(block, file.sources());
    const got = (name: keyof typeof at) => new Float32Array(bytes.slice(at[name], at[name] + 32).buffer);
    const padded = (wanted: number[]) => Float32Array.from([...wanted, 0, 0, 0]);
    expect(got('plain')).toEqual(padded([...values]));
    expect(got('centred')).toEqual(padded([...values].map((value) => bf16Value(bf16Bits(value)) + 1)));
    expect(got('half')).toEqual(padded([...values].map((value) => halfValue(halfBits(value)))));
    expect(got('negExpA')).toEqual(padded([...values].map((value) => -Math.exp(value))));
  });

  test('every f16 and bf16 becomes the f32 it is', () => {
    const all = new Uint8Array(Uint16Array.from({ length: 65536 }, (_, i) => i).buffer);
    expect(toFloat32(all, 'F16')).toEqual(Float32Array.from({ length: 65536 }, (_, i) => halfValue(i)));
    expect(toFloat32(all, 'BF16')).toEqual(Float32Array.from({ length: 65536 }, (_, i) => bf16Value(i)));
    const floats = uniform(random(4), 9);
    expect(toFloat32(new Uint8Array(floats.buffer), 'F32')).toEqual(floats);
  });
});

describe('placement', () => {
  const image = (bytes: number) => {
    const block: Block = { label: `${bytes}`, bytes, fills: [] };
    return { label: `${bytes}`, bytes, blocks: [{ block, byteOffset: 0 }] };
  };

  test('images lie in order, do not overlap, stay inside their slab, and are placed once each', () => {
    const sizes = fc.array(
      fc.integer({ min: 1, max: 64 }).map((units) => units * 16),
      { maxLength: 60 },
    );
    fc.assert(
      fc.property(
        sizes,
        fc.integer({ min: 64, max: 200 }).map((units) => units * 16),
        (sizes, slabBytes) => {
          const images = sizes.map(image);
          const { slabs, places } = placeImages(images, [], slabBytes);
          expect(places.size).toBe(images.length);
          const ends = slabs.map(() => 0);
          for (const { bytes, blocks } of images) {
            const place = places.get(blocks[0]!.block)!;
            if (!('slab' in place)) throw new Error('A resident image has a slab.');
            expect(place.byteOffset % 256).toBe(0);
            expect(place.byteOffset).toBeGreaterThanOrEqual(ends[place.slab]!);
            ends[place.slab] = place.byteOffset + bytes;
          }
          slabs.forEach(({ bytes }, i) => {
            expect(bytes).toBe(ends[i]);
            expect(bytes).toBeLessThanOrEqual(slabBytes);
            expect(bytes).toBeGreaterThan(0);
          });
        },
      ),
    );
  });

  test.each([
    {
      maxBufferSize: 1024 * mib,
      maxStorageBufferBindingSize: 1024 * mib,
      slab: 256 * mib,
      why: 'no larger than every target allocates',
    },
    { maxBufferSize: 256 * mib, maxStorageBufferBindingSize: 128 * mib, slab: 128 * mib, why: 'a slab is bound whole' },
  ])('slabs of $slab bytes: $why', ({ slab, why: _, ...limits }) => expect(slabBytesFor(limits)).toBe(slab));
});
