/**
 * What the kernel cases share: seeded inputs, buffers that notice stray writes, weights in a slab, one run, one comparison.
 * No test framework, no Node: the same cases run under vitest and in a browser page.
 */
import type { MatrixFormat, StorageDtype } from '../format/types';
import type { Gpu } from '../gpu/device';
import { encode } from '../gpu/dispatch';
import { bindSlab, type Kernel, recordAt, recordStride, type WeightBinding } from '../gpu/kernel';
import type { BufferRange } from '../gpu/memory';
import { Readback } from '../gpu/readback';
import { dequantise, packBits } from '../kernels/reference/affine';
import { bf16Bits, bf16Value, halfBits, halfValue } from '../kernels/reference/half';
import { packStep, type StepState } from '../kernels/step';

/** `error` and `tolerance` are relative to what the case names as the scale; `skipped` says what the device lacks. */
export type Outcome = { error: number; tolerance: number; detail: string; skipped?: string };

export type KernelCase = {
  /** The stem of the file in wgsl/. */
  kernel: string;
  name: string;
  /** Why the row is there. */
  why: string;
  run(gpu: Gpu): Promise<Outcome>;
};

// ---- variants -------------------------------------------------------------------------------------------------------

export type Reduction = 'direct' | 'workgroup' | 'subgroups';

/** `gpu` with one way of reducing chosen, or the reason why it cannot. Pipelines and memory stay shared. */
export function withReduction(gpu: Gpu, reduction: Reduction): Gpu | string {
  if (reduction === 'subgroups' && !gpu.subgroups) return 'the device has no subgroups';
  return { ...gpu, direct: reduction === 'direct', subgroups: reduction === 'subgroups' };
}

/** @throws if a binding chose another file than the case is about. */
export function requireStem(kernel: Kernel, stem: string): void {
  if (kernel.label.split(' ')[0] !== stem) throw new Error(`${kernel.label} is not ${stem}`);
}

export const skip = (reason: string): Outcome => ({ error: 0, tolerance: 0, detail: '', skipped: reason });

// ---- inputs ---------------------------------------------------------------------------------------------------------

export type Random = () => number;

/** Deterministic numbers in [0, 1) (mulberry32). */
export function random(seed: number): Random {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function uniform(next: Random, length: number, low = -1, high = 1): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length }, () => low + (high - low) * next());
}

/** A value as a storage type holds it. */
export function stored(value: number, dtype: StorageDtype): number {
  if (dtype === 'f32') return Math.fround(value);
  return dtype === 'f16' ? halfValue(halfBits(value)) : bf16Value(bf16Bits(value));
}

const dtypeSize = { bf16: 2, f16: 2, f32: 4 };

function putValue(view: DataView, at: number, value: number, dtype: StorageDtype): void {
  if (dtype === 'f32') view.setFloat32(at, value, true);
  else view.setUint16(at, dtype === 'f16' ? halfBits(value) : bf16Bits(value), true);
}

// ---- matrices -------------------------------------------------------------------------------------------------------

export type TestMatrix = {
  rows: number;
  cols: number;
  format: MatrixFormat;
  /** W [rows, cols], exactly what the stored numbers stand for. */
  values: Float64Array;
  /** The size of the terms W is made of, |scale| q + |bias| where it is affine: what rounding errors are relative to. */
  sizes: Float64Array;
  /** W [rows, cols] with every q in the middle of its range; W itself where it is not affine. */
  middle(): Float64Array;
  /** The bytes of rows [first, first + count) as they lie in the slab, and where the scale pairs start in them. */
  block(first: number, count: number): { bytes: Uint8Array<ArrayBuffer>; pairsAt: number };
};

const align16 = (bytes: number) => Math.ceil(bytes / 16) * 16;

export function randomMatrix(next: Random, rows: number, cols: number, format: MatrixFormat): TestMatrix {
  return format.kind === 'float' ? floatMatrix(next, rows, cols, format) : affineMatrix(next, rows, cols, format);
}

function floatMatrix(next: Random, rows: number, cols: number, format: MatrixFormat & { kind: 'float' }): TestMatrix {
  const values = Float64Array.from({ length: rows * cols }, () => stored(2 * next() - 1, format.dtype));
  const size = dtypeSize[format.dtype];
  const stride = align16(cols * size);
  return {
    rows,
    cols,
    format,
    values,
    sizes: values.map(Math.abs),
    middle: () => values,
    block(first, count) {
      const bytes = new Uint8Array(count * stride);
      const view = new DataView(bytes.buffer);
      for (let r = 0; r < count; r++) {
        for (let c = 0; c < cols; c++) putValue(view, r * stride + c * size, values[(first + r) * cols + c]!, format.dtype);
      }
      return { bytes, pairsAt: 0 };
    },
  };
}

function affineMatrix(next: Random, rows: number, cols: number, format: MatrixFormat & { kind: 'affine' }): TestMatrix {
  const { bits, group, pair } = format;
  const shape = { rows, cols, bits, group };
  const most = 2 ** bits - 1;
  const q = Uint8Array.from({ length: rows * cols }, () => Math.floor(next() * (most + 1)));
  const groups = (rows * cols) / group;
  const scales = Float64Array.from({ length: groups }, () => stored(((next() < 0.5 ? -1 : 1) * (0.5 + next())) / most, pair));
  const biases = Float64Array.from({ length: groups }, () => stored(2 * next() - 1, pair));
  const pairSize = 2 * dtypeSize[pair];
  return {
    rows,
    cols,
    format,
    values: dequantise({ q, scales, biases }, shape),
    sizes: dequantise({ q, scales: scales.map(Math.abs), biases: biases.map(Math.abs) }, shape),
    middle: () => dequantise({ q: q.map(() => 2 ** (bits - 1)), scales, biases }, shape),
    block(first, count) {
      const words = packBits(q.subarray(first * cols, (first + count) * cols), { rows: count, cols, bits });
      const pairsAt = align16(words.byteLength);
      const perRow = cols / group;
      const bytes = new Uint8Array(align16(pairsAt + count * perRow * pairSize));
      const view = new DataView(bytes.buffer);
      words.forEach((word, i) => {
        view.setUint32(4 * i, word, true);
      });
      for (let i = 0; i < count * perRow; i++) {
        putValue(view, pairsAt + i * pairSize, scales[first * perRow + i]!, pair);
        putValue(view, pairsAt + i * pairSize + pairSize / 2, biases[first * perRow + i]!, pair);
      }
      return { bytes, pairsAt };
    },
  };
}

/** u32 (or groups) per row as record.b wants them: u32 and groups of an affine row, 16-byte units of a float one. */
function strides({ cols, format }: TestMatrix): [number, number] {
  if (format.kind === 'affine') return [(cols * format.bits) / 32, cols / format.group];
  return [align16(cols * dtypeSize[format.dtype]) / 16, 0];
}

// ---- the bench ------------------------------------------------------------------------------------------------------

/** What an output holds before the kernel writes it, and what lies behind its end: large, so that a miss is plain. */
export const poison = 2 ** 30;
const guardValues = 64;

export type Weights = WeightBinding;
export type WeightPart = { weights: Weights; rows: number };
/** f32 values with a guard behind them. */
export type Output = BufferRange & { values: number };

export type Run = {
  kernel: Kernel;
  bindings: Record<string, BufferRange>;
  tokens?: number;
  weights?: Weights;
  rows?: number;
};

/** Opens a bench on the device, and destroys every buffer made on it when `body` is done. */
export async function onBench<T>(gpu: Gpu, body: (bench: Bench) => Promise<T>): Promise<T> {
  const bench = new Bench(gpu);
  try {
    return await body(bench);
  } finally {
    bench.close();
  }
}

export class Bench {
  readonly #gpu: Gpu;
  readonly #made: GPUBuffer[] = [];

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  close(): void {
    for (const buffer of this.#made) this.#gpu.memory.destroy(buffer);
  }

  input(data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>): BufferRange {
    return { buffer: this.#upload('input', data) };
  }

  /** Values that the kernel writes: `initial`, or that many poisoned ones, and a guard behind them. */
  output(initial: number | Float32Array): Output {
    const values = typeof initial === 'number' ? initial : initial.length;
    const data = new Float32Array(values + guardValues).fill(poison);
    if (typeof initial !== 'number') data.set(initial);
    return { buffer: this.#upload('output', data), values };
  }

  step(step: Partial<StepState>): BufferRange {
    return { buffer: this.#upload('step', packStep(step)) };
  }

  /**
   * A matrix in a slab, in parts that end before the rows `cuts`; junk lies before, between and behind them. `behind`: another record, behind
   * that of each part.
   */
  matrix(matrix: TestMatrix, { baseUnits = 0, cuts = [] as number[], behind = [] as number[] } = {}): WeightPart[] {
    const starts = [0, ...cuts];
    const parts = starts.map((firstRow, i) => ({ firstRow, rows: (starts[i + 1] ?? matrix.rows) - firstRow }));
    const blocks = parts.map(({ firstRow, rows }) => matrix.block(firstRow, rows));
    const { starts: units, slab } = this.#slab(
      blocks.map(({ bytes }) => bytes),
      baseUnits,
    );
    const records = parts.map(({ firstRow, rows }, i) => {
      const pairs = units[i]! + blocks[i]!.pairsAt / 16;
      return [units[i]!, pairs, rows, firstRow, ...strides(matrix), matrix.cols, matrix.rows, ...behind];
    });
    return this.#table(slab, records).map((weights, i) => ({ weights, rows: parts[i]!.rows }));
  }

  /** Matrices in one slab, and one run of records for a dispatch over all of them; row r of the nth goes to `ats[n]` + r. */
  several(matrices: readonly TestMatrix[], ats: readonly number[], last: readonly number[] = []): Weights {
    const blocks = matrices.map((matrix) => matrix.block(0, matrix.rows));
    const { starts, slab } = this.#slab(
      blocks.map(({ bytes }) => bytes),
      5,
    );
    const records = matrices.map((matrix, i) => {
      const pairs = starts[i]! + blocks[i]!.pairsAt / 16;
      return [starts[i]!, pairs, matrix.rows, ats[i]!, ...strides(matrix), last[1] ?? matrix.cols, last[0] ?? matrix.rows];
    });
    return this.#table(slab, [records.flat()])[0]!;
  }

  /** The same, each record's last word saying where `w` begins in a buffer of parameters, and the one before it where `other` does. */
  severalAfter(
    w: Float32Array<ArrayBuffer>,
    matrices: readonly TestMatrix[],
    ats: readonly number[],
    ...other: Float32Array<ArrayBuffer>[]
  ): Weights {
    const vectors = [w, ...other].map(({ buffer }) => new Uint8Array(buffer));
    const { starts, slab: parameters } = this.#slab(vectors, 3);
    return { ...this.several(matrices, ats, starts), parameters };
  }

  /** Experts in slots, each of the same matrices one behind the other, and one run of records for them. Junk lies between the slots. */
  experts(experts: readonly (readonly TestMatrix[])[]): { weights: Weights; slotBytes: number } {
    const blocks = experts.map((matrices) => matrices.map((matrix) => matrix.block(0, matrix.rows)));
    const units = blocks[0]!.map(({ bytes }) => bytes.byteLength / 16);
    const starts = units.map((_, i) => units.slice(0, i).reduce((sum, count) => sum + count, 0));
    const used = starts.at(-1)! + units.at(-1)!;
    const slab = new Uint8Array(blocks.length * (used + 1) * 16).fill(0xff);
    blocks.forEach((own, slot) => {
      own.forEach(({ bytes }, i) => {
        slab.set(bytes, (slot * (used + 1) + starts[i]!) * 16);
      });
    });
    const records = experts[0]!.map((matrix, i) => {
      const pairs = starts[i]! + blocks[0]![i]!.pairsAt / 16;
      return [starts[i]!, pairs, matrix.rows, 0, ...strides(matrix), matrix.cols, matrix.rows];
    });
    return { weights: this.#table(this.#upload('experts', slab), [records.flat()])[0]!, slotBytes: (used + 1) * 16 };
  }

  /** Experts in slots of a buffer that is bound by itself; `record` is that of their matrix, counted from a slot's start. */
  pool(experts: readonly TestMatrix[]): { buffer: GPUBuffer; slotBytes: number; record: number[] } {
    const blocks = experts.map((one) => one.block(0, one.rows));
    const { bytes, pairsAt } = blocks[0]!;
    const slotBytes = bytes.byteLength + 16; // one unit of junk behind each
    const all = new Uint8Array(experts.length * slotBytes).fill(0xff);
    blocks.forEach((block, slot) => {
      all.set(block.bytes, slot * slotBytes);
    });
    const [first] = experts as [TestMatrix];
    const record = [0, pairsAt / 16, first.rows, 0, ...strides(first), first.cols, first.rows];
    return { buffer: this.#upload('pool', all), slotBytes, record };
  }

  /** Small f32 parameters in a slab: one record that points at each, in order. */
  vectors(...vectors: Float32Array<ArrayBuffer>[]): Weights {
    const blocks = vectors.map((vector) => {
      const bytes = new Uint8Array(align16(vector.byteLength));
      bytes.set(new Uint8Array(vector.buffer));
      return bytes;
    });
    const { starts, slab } = this.#slab(blocks, 3);
    const [{ record }] = this.#table(slab, [starts]) as [Weights];
    return { parameters: slab, record };
  }

  /** Runs in order, in one submit. @throws what WebGPU's validation says. */
  async run(...runs: Run[]): Promise<void> {
    const { device } = this.#gpu;
    await Promise.all(runs.map(({ kernel }) => kernel.ready));
    // Pushed and popped without an await between, because cases run side by side on one device.
    device.pushErrorScope('validation');
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (const { kernel, bindings, tokens = 1, weights, rows = 0 } of runs) {
      const slab = weights?.slab ? { slab: weights.slab } : {};
      encode(pass, [{ kernel, activations: kernel.bind(bindings, weights), ...slab, rows }], tokens);
    }
    pass.end();
    device.queue.submit([encoder.finish()]);
    const error = await device.popErrorScope();
    if (error) throw new Error(error.message);
  }

  /** The values of an output. @throws if the kernel wrote behind their end. */
  async read({ buffer, values }: Output): Promise<Float32Array> {
    const bytes = (values + guardValues) * 4;
    const readback = new Readback(this.#gpu, 'readback', bytes);
    try {
      const encoder = this.#gpu.device.createCommandEncoder();
      readback.copyFrom(encoder, buffer, 0, bytes);
      this.#gpu.device.queue.submit([encoder.finish()]);
      const all = await readback.floats(bytes);
      const stray = all.subarray(values).findIndex((value) => value !== poison);
      if (stray >= 0) throw new Error(`a value was written ${stray + 1} past the end of ${values}`);
      return all.subarray(0, values);
    } finally {
      readback.destroy();
    }
  }

  #slab(blocks: Uint8Array[], baseUnits: number): { starts: number[]; slab: GPUBuffer } {
    const starts: number[] = [];
    let units = baseUnits;
    for (const block of blocks) {
      starts.push(units);
      units += block.byteLength / 16 + 1; // one unit of junk behind each
    }
    const bytes = new Uint8Array(units * 16).fill(0xff); // a NaN in every float format, so that no product with 0 hides it
    blocks.forEach((block, i) => {
      bytes.set(block, starts[i]! * 16);
    });
    return { starts, slab: this.#upload('slab', bytes) };
  }

  /** Records behind one of junk, so that an offset is always in play. */
  #table(slab: GPUBuffer, records: number[][]): Weights[] {
    const words = new Uint32Array(((records.length + 1) * recordStride) / 4).fill(0xa5a5a5a5, 0, recordStride / 4);
    records.forEach((record, i) => {
      words.set(record, ((i + 1) * recordStride) / 4);
    });
    const ref = { group: bindSlab(this.#gpu, slab) };
    const table = this.#upload('weight table', words);
    return records.map((_, i) => ({ slab: ref, record: recordAt(table, (i + 1) * recordStride) }));
  }

  #upload(label: string, data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>): GPUBuffer {
    const { STORAGE, UNIFORM, COPY_SRC, COPY_DST } = GPUBufferUsage;
    const buffer = this.#gpu.memory.create(label, data.byteLength, STORAGE | UNIFORM | COPY_SRC | COPY_DST);
    this.#made.push(buffer);
    this.#gpu.device.queue.writeBuffer(buffer, 0, data);
    return buffer;
  }
}

// ---- comparison -----------------------------------------------------------------------------------------------------

/**
 * One unit in the last place, relative: WGSL promises + - * within it (any rounding direction), / within 2.5 of them,
 * inverseSqrt within 2, exp(x) within 3 + 2 |x|.
 */
export const ulp = 2 ** -23;
export const expUlps = (x: number) => 3 + 2 * Math.abs(x);
export const largest = (values: ArrayLike<number>) => Array.from(values).reduce((most, v) => Math.max(most, Math.abs(v)), 0);

/**
 * error = max |got - want| / scale, where scale is the size of what was added up (|want| itself by default). The first index
 * over the tolerance is shown with its neighbours.
 */
export function compare(
  what: string,
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  tolerance: number,
  scale: number | ArrayLike<number> = Float64Array.from(want, Math.abs),
): Outcome {
  if (got.length !== want.length)
    return { error: Infinity, tolerance, detail: `${what}: ${got.length} values, ${want.length} wanted` };
  let error = 0;
  let bad = -1;
  for (let i = 0; i < want.length; i++) {
    const off = Math.abs(got[i]! - want[i]!);
    const relative = off === 0 ? 0 : off / (typeof scale === 'number' ? scale : scale[i]!);
    if (!(relative <= tolerance) && bad < 0) bad = i;
    if (!(relative <= error)) error = Number.isNaN(relative) ? Infinity : relative;
  }
  return { error, tolerance, detail: bad < 0 ? `${what}: ${want.length} values` : `${what}: ${around(got, want, bad)}` };
}

function around(got: ArrayLike<number>, want: ArrayLike<number>, bad: number): string {
  const lines: string[] = [];
  for (let i = Math.max(0, bad - 2); i < Math.min(want.length, bad + 3); i++) {
    lines.push(`[${i}] got ${got[i]} want ${Math.fround(want[i]!)}${i === bad ? ' <- first bad' : ''}`);
  }
  return lines.join(', ');
}

/** The outcome with the least room; of several over their tolerance, the first. */
export function worst(...outcomes: Outcome[]): Outcome {
  const failed = outcomes.find(({ error, tolerance }) => error > tolerance);
  if (failed) return failed;
  const used = ({ error, tolerance }: Outcome) => (tolerance === 0 ? 0 : error / tolerance);
  return outcomes.reduce((most, outcome) => (used(outcome) > used(most) ? outcome : most));
}
