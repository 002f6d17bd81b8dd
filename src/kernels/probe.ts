/**
 * Do subgroups reduce as the kernels assume? They take lane index / subgroup size for the subgroup's number, lanes in order within it
 * and full subgroups for granted, which WGSL does not promise, and drivers have been known to report one size and run another.
 */
import type { Gpu } from '../gpu/device';
import { bindSlab, type Kernel, recordAt, recordStride } from '../gpu/kernel';
import { Readback } from '../gpu/readback';
import { createDeltaQkNorm } from './delta';
import { chooseGemv } from './gemv';
import { createGemvQ4Wide } from './gemv_teams';

const dim = 128;

/** Runs real reductions on this device and compares. False: use the variants without subgroups. @throws EngineError 'device-lost' */
export async function subgroupsWork(gpu: Gpu): Promise<boolean> {
  const chosen = (outCols: number) => (own: Gpu) => chooseGemv(own, { cols, outCols, format, accumulate: false });
  const works = (await normWorks(gpu)) && (await productWorks(gpu, chosen(4096))) && (await productWorks(gpu, chosen(rows)));
  const { min, max } = gpu.subgroupSizes ?? { min: 0, max: 0 };
  return works && (min !== max || max <= partLanes || (await teamsWork(gpu, partLanes)));
}

/** Lanes of the teams that may be part of a subgroup. */
const partLanes = 16;

/** Whether teams of `lanes` add up, nine to a workgroup: of those that are half a subgroup the last has none beside it. @throws EngineError 'device-lost' */
export function teamsWork(gpu: Gpu, lanes: number): Promise<boolean> {
  const team = { rows: 4, lanes, teams: 9, x: 'staged', kib: 12, nibbles: 'convert' } as const;
  return productWorks(gpu, (own) => createGemvQ4Wide(own, { cols, format, accumulate: false, team }));
}

/** Whether kernels may use subgroups here. Where the lanes of a workgroup never meet there is nothing to find out. @throws EngineError 'device-lost' */
export async function usableSubgroups(gpu: Gpu): Promise<boolean> {
  return gpu.subgroups && (gpu.direct || (await subgroupsWork(gpu)));
}

/** Over whole workgroups, as most kernels do. */
async function normWorks(gpu: Gpu): Promise<boolean> {
  const own: Gpu = { ...gpu, memory: gpu.memory.scope() };
  try {
    const kernel = createDeltaQkNorm(own, { keyHeads: 1, valueHeads: 1, keyDim: dim, valueDim: 16 });
    await kernel.ready;
    const input = Float32Array.from({ length: 2 * dim + 16 }, (_, i) => 1 + (i % dim));
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const buffer = own.memory.create('subgroup probe', input.byteLength, usage);
    own.device.queue.writeBuffer(buffer, 0, input);
    const readback = new Readback(own, 'subgroup probe readback', input.byteLength);
    const encoder = own.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(kernel.pipeline(1));
    pass.setBindGroup(0, kernel.bind({ qkv: { buffer } }));
    const [x, y = 1] = kernel.grid(1, 0);
    pass.dispatchWorkgroups(x, y);
    pass.end();
    readback.copyFrom(encoder, buffer, 0, input.byteLength);
    own.device.queue.submit([encoder.finish()]);
    return isNormed(await readback.floats(input.byteLength));
  } finally {
    own.memory.release();
  }
}

/** The key head holds (1, 2, … dim) / its norm. A lost lane would show in every element. */
function isNormed(output: Float32Array): boolean {
  const norm = Math.sqrt((dim * (dim + 1) * (2 * dim + 1)) / 6);
  return output.subarray(dim, 2 * dim).every((value, i) => Math.abs(value * norm - (i + 1)) < 1e-4 * (i + 1));
}

const rows = 36;
const cols = 1024;
const group = 64;
const format = { kind: 'affine', bits: 4, group, pair: 'bf16' } as const;

/** Over teams of lanes, with shuffles, by a kernel that `create` makes for `cols` columns: small whole numbers, so sums are exact. */
async function productWorks(gpu: Gpu, create: (own: Gpu) => Kernel): Promise<boolean> {
  const own: Gpu = { ...gpu, memory: gpu.memory.scope() };
  const { STORAGE, UNIFORM, COPY_SRC, COPY_DST } = GPUBufferUsage;
  const upload = (label: string, data: Uint32Array<ArrayBuffer> | Float32Array<ArrayBuffer>, usage: number): GPUBuffer => {
    const buffer = own.memory.create(label, data.byteLength, usage | COPY_DST);
    own.device.queue.writeBuffer(buffer, 0, data);
    return buffer;
  };
  try {
    const kernel = create(own);
    await kernel.ready;
    const words = (rows * cols) / 8;
    const slab = new Uint32Array(words + (rows * cols) / group).fill(0x3f80, words); // scale 1, bias 0
    for (let i = 0; i < rows * cols; i++) slab[i >> 3]! |= weight(i) << (4 * (i % 8));
    const table = new Uint32Array(recordStride / 4);
    table.set([0, words / 4, rows, 0, cols / 8, cols / group, cols, rows]);
    const x = Float32Array.from({ length: cols }, (_, c) => input(c));
    const slabGroup = bindSlab(own, upload('probe weights', slab, STORAGE));
    const record = recordAt(upload('probe record', table, UNIFORM), 0);
    const y = own.memory.create('probe y', rows * 4, STORAGE | COPY_SRC);
    const readback = new Readback(own, 'probe readback', rows * 4);
    const encoder = own.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(kernel.pipeline(1));
    const activations = { x: { buffer: upload('probe x', x, STORAGE) }, y: { buffer: y } };
    pass.setBindGroup(0, kernel.bind(activations, { slab: { group: slabGroup }, record }));
    pass.setBindGroup(1, slabGroup);
    const [gx, gy = 1] = kernel.grid(1, rows);
    pass.dispatchWorkgroups(gx, gy);
    pass.end();
    readback.copyFrom(encoder, y, 0, rows * 4);
    own.device.queue.submit([encoder.finish()]);
    const got = await readback.floats(rows * 4);
    return got.every((value, row) => value === x.reduce((sum, xc, c) => sum + xc * weight(row * cols + c), 0));
  } finally {
    own.memory.release();
  }
}

/** Of another value in every row, so that rows in each other's place show. */
const weight = (i: number): number => (7 * i + (i >> 5) + 3 * Math.floor(i / cols)) % 16;
const input = (c: number): number => ((5 * c) % 9) - 4;
