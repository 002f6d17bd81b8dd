/**
 * From a WGSL file to something that can be encoded. Two bind groups, the same for every kernel:
 *   group 0  activations and state, in the order that the typed binding lists them; of a kernel with weights also this matrix's
 *            record, which says where in its slab it lies; of one with small parameters also what holds those, which never moves
 *   group 1  the slab of a matrix. One bind group per slab serves every kernel, so that most dispatches find it set, and where a
 *            weight lies is data in a GPU buffer, which can change without a new one.
 * Pipelines compile asynchronously; `ready` resolves when one can be encoded.
 */
import { EngineError } from '../errors';
import type { Gpu } from './device';
import type { BufferRange } from './memory';

export type BindingKind = 'read' | 'write' | 'uniform';

export type Grid = readonly [x: number, y?: number, z?: number];

export type KernelSpec = {
  /** The stem of the file in wgsl/, with the variant where there is one: the profiler's name too. */
  label: string;
  /** Shared files, then the kernel's own file; joined by newlines. */
  sources: readonly string[];
  /** `enable` lines that must stand first. */
  enable?: readonly ('subgroups' | 'f16')[];
  constants?: Record<string, number>;
  /** Group 0 in @binding order. 'write' is read_write storage. */
  bindings: Record<string, BindingKind>;
  /** Matrices in the slab of group 1, small parameters, or both; neither by default. */
  weights?: 'matrix' | 'parameters' | 'both';
  /** Workgroups for `tokens` tokens of a step, 0 where it has no use for them; `rows` is the row count of a matrix part, 0 for kernels without one. */
  grid(tokens: number, rows: number): Grid;
  /** Of a kernel that takes up to `recordsSeen` matrices in one dispatch: `rows` is then the sum of their rows in whole workgroups. */
  rowsPerWorkgroup?: number;
  /** The grid's y counts tiles from step.firstTile on, and each computes the same whatever others there are. */
  tiles?: boolean;
};

export type Kernel = {
  label: string;
  rowsPerWorkgroup?: number;
  /** The one that a step of `tokens` tokens runs, where it is one of several. */
  chosen?(tokens: number): Kernel;
  /** Tiles of a step of `tokens` tokens, where the dispatch may go in pieces of them. */
  tiles?(tokens: number): number;
  /** Of source and constants: kernels with the same digest compute the same. */
  digest: string;
  /** Names of group 0 in @binding order. */
  bindings: readonly string[];
  ready: Promise<void>;
  grid(tokens: number, rows: number): Grid;
  /** What a step of `tokens` tokens runs. */
  pipeline(tokens: number): GPUComputePipeline;
  /** Whether dispatches need the slab of their matrix. */
  readsSlab: boolean;
  /** @throws EngineError 'internal' if a binding is missing or unknown. */
  bind(ranges: Record<string, BufferRange>, weights?: WeightBinding): GPUBindGroup;
};

/** A slab as dispatches see it; for what passes through a ring of slots, `group` is set before each use. */
export type SlabRef = { group: GPUBindGroup };

/** Where a dispatch's weights lie: `record`, in the weight table, says where in the slab, or in `parameters`. */
export type WeightBinding = { record: BufferRange; slab?: SlabRef; parameters?: GPUBuffer; reads?: MatrixReads };

/** What a dispatch passes through of matrices, where that does not depend on what it computes: bytes as they lie, and how many weights. */
export type MatrixReads = { bytes: number; weights: number };

/** In group 0, behind any kernel's own: see wgsl/shared/slab.wgsl and parameters.wgsl. */
const parametersBinding = 14;
const recordBinding = 15;
/** Bytes between two records of the weight table: the portable minUniformBufferOffsetAlignment. */
export const recordStride = 256;
/** Bytes of one record. */
export const recordBytes = 32;
/** Records, one behind the other, that a kernel can see from its place in the table on. */
export const recordsSeen = 4;

/** In a table of slots: what should lie in one lies in none. ABSENT in wgsl/shared/slab_experts.wgsl. */
export const absentSlot = 0xffffffff;

function slabLayout(gpu: Gpu): GPUBindGroupLayout {
  return cached(gpu.layouts, 'slab', () =>
    gpu.device.createBindGroupLayout({
      label: 'slab',
      entries: [{ binding: 0, visibility: GPUShaderStage.COMPUTE, buffer: { type: 'read-only-storage' } }],
    }),
  );
}

/** The bind group of one slab: made once, used by every kernel that reads matrices from it. */
export function bindSlab(gpu: Gpu, slab: GPUBuffer): GPUBindGroup {
  return gpu.device.createBindGroup({
    label: slab.label,
    layout: slabLayout(gpu),
    entries: [{ binding: 0, resource: { buffer: slab } }],
  });
}

/** The record at `offset` of a weight table, and those behind it that a kernel sees. */
export function recordAt(table: GPUBuffer, offset: number): BufferRange {
  return { buffer: table, offset, size: recordBytes * recordsSeen };
}

export function createKernel(gpu: Gpu, spec: KernelSpec): Kernel {
  const layout = activationLayout(gpu, spec);
  const key = JSON.stringify([spec.label, spec.enable ?? [], spec.constants ?? {}]);
  const compiled = cached(gpu.pipelines, key, () => compile(gpu, spec, layout));
  let pipeline: GPUComputePipeline | undefined;
  const ready = compiled.then((value) => {
    pipeline = value;
  });
  ready.catch(() => {}); // reported to whoever awaits `ready`; an unawaited kernel must not be an unhandled rejection
  return {
    label: spec.label,
    ...(spec.rowsPerWorkgroup === undefined ? {} : { rowsPerWorkgroup: spec.rowsPerWorkgroup }),
    ...(spec.tiles ? { tiles: (tokens: number) => spec.grid(tokens, 0)[1] ?? 1 } : {}),
    digest: fnv1a(`${key}${spec.sources.join()}`),
    bindings: Object.keys(spec.bindings),
    readsSlab: readsSlab(spec),
    ready,
    grid: spec.grid,
    pipeline: () => {
      if (!pipeline) throw new EngineError('internal', `${spec.label}: encoded before its pipeline was ready`);
      return pipeline;
    },
    bind: (ranges, weights) => bindActivations(gpu, spec, layout, ranges, weights),
  };
}

/**
 * Kernels with the same bindings as one: a step runs the first that is good for as many tokens, which the last must be for any.
 * @throws EngineError 'internal' where their bindings differ.
 */
export function kernelByTokens(choices: readonly { upTo: number; kernel: Kernel }[]): Kernel {
  const [first] = choices;
  const last = choices.at(-1);
  if (
    !first ||
    !last ||
    last.upTo !== Number.POSITIVE_INFINITY ||
    choices.some(({ kernel }) => !sameBindings(kernel, first.kernel))
  )
    throw new EngineError('internal', `${choices.map(({ kernel }) => kernel.label)} cannot stand in for each other`);
  const of = (tokens: number): Kernel => choices.find(({ upTo }) => tokens <= upTo)!.kernel;
  const ready = Promise.all(choices.map(({ kernel }) => kernel.ready)).then(() => {});
  ready.catch(() => {}); // as in createKernel
  return {
    label: choices.map(({ kernel }) => kernel.label).join(' | '),
    digest: choices.map(({ kernel }) => kernel.digest).join(),
    bindings: first.kernel.bindings,
    readsSlab: first.kernel.readsSlab,
    chosen: of,
    tiles: (tokens) => of(tokens).tiles?.(tokens) ?? 1,
    ready,
    grid: (tokens, rows) => of(tokens).grid(tokens, rows),
    pipeline: (tokens) => of(tokens).pipeline(tokens),
    bind: (ranges, weights) => first.kernel.bind(ranges, weights), // the same kinds of bindings have one layout object
  };
}

/** FNV-1a, 32 bits, over UTF-16 units. */
function fnv1a(text: string): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, '0');
}

const sameBindings = (a: Kernel, b: Kernel): boolean => a.readsSlab === b.readsSlab && a.bindings.join() === b.bindings.join();

const readsSlab = ({ weights }: KernelSpec): boolean => weights === 'matrix' || weights === 'both';
const readsParameters = ({ weights }: KernelSpec): boolean => weights === 'parameters' || weights === 'both';

function activationLayout(gpu: Gpu, spec: KernelSpec): GPUBindGroupLayout {
  const entries = Object.values(spec.bindings).map((kind, binding) => ({ kind, binding }));
  if (readsParameters(spec)) entries.push({ kind: 'read', binding: parametersBinding });
  if (spec.weights) entries.push({ kind: 'uniform', binding: recordBinding });
  const label = entries.map(({ kind, binding }) => `${binding} ${kind}`).join();
  return cached(gpu.layouts, label, () =>
    gpu.device.createBindGroupLayout({
      label,
      entries: entries.map(({ kind, binding }) => ({
        binding,
        visibility: GPUShaderStage.COMPUTE,
        buffer: { type: kind === 'read' ? 'read-only-storage' : kind === 'write' ? 'storage' : 'uniform' },
      })),
    }),
  );
}

function bindActivations(
  gpu: Gpu,
  spec: KernelSpec,
  layout: GPUBindGroupLayout,
  ranges: Record<string, BufferRange>,
  weights: WeightBinding | undefined,
): GPUBindGroup {
  const names = Object.keys(spec.bindings);
  const unknown = Object.keys(ranges).filter((name) => !names.includes(name));
  const missing = names.filter((name) => !ranges[name]);
  if (unknown.length || missing.length) {
    throw new EngineError('internal', `${spec.label}: unknown bindings [${unknown}], missing bindings [${missing}]`);
  }
  const { slab, parameters } = weights ?? {};
  if (readsSlab(spec) !== Boolean(slab) || readsParameters(spec) !== Boolean(parameters))
    throw new EngineError('internal', `${spec.label}: bound to other weights than it reads`);
  const entries: GPUBindGroupEntry[] = names.map((name, binding) => ({ binding, resource: ranges[name]! }));
  if (parameters) entries.push({ binding: parametersBinding, resource: { buffer: parameters } });
  if (weights) entries.push({ binding: recordBinding, resource: weights.record });
  return gpu.device.createBindGroup({ label: spec.label, layout, entries });
}

async function compile(gpu: Gpu, spec: KernelSpec, layout: GPUBindGroupLayout): Promise<GPUComputePipeline> {
  const enables = (spec.enable ?? []).map((feature) => `enable ${feature};\n`).join('');
  const code = enables + specialise(spec.label, spec.sources.join('\n'), spec.constants ?? {});
  const module = gpu.device.createShaderModule({ label: spec.label, code });
  const bindGroupLayouts = readsSlab(spec) ? [layout, slabLayout(gpu)] : [layout];
  try {
    return await gpu.device.createComputePipelineAsync({
      label: spec.label,
      layout: gpu.device.createPipelineLayout({ bindGroupLayouts }),
      compute: { module, entryPoint: 'main' },
    });
  } catch (cause) {
    const { messages } = await module.getCompilationInfo();
    const text = messages.map((m) => `${m.lineNum}:${m.linePos} ${m.message}`).join('; ');
    throw new EngineError('internal', `${spec.label} did not compile: ${text || (cause as Error).message}`, { cause });
  }
}

/**
 * Turns `override X: T;` into `const X: T = value;`, and a derived override into a const of the same expression. A pipeline's
 * `constants` would be the plain way, but Safari 26 refuses an override whose initialiser names another one, and a constant for
 * an override that the entry point does not use (both mended in WebKit after it). Each pipeline has its own module anyway.
 * @throws EngineError 'internal' if the constants are not exactly those that the source declares without a value.
 */
export function specialise(label: string, source: string, constants: Record<string, number>): string {
  const unused = new Set(Object.keys(constants));
  const code = source.replace(
    /\boverride\s+(\w+)\s*:\s*(\w+)\s*(?:=\s*([^;]+))?;/g,
    (_, name: string, type: string, derived?: string) => {
      unused.delete(name);
      const value = constants[name] === undefined ? derived : literal(type, constants[name]);
      if (value === undefined) throw new EngineError('internal', `${label}: no value for ${name}`);
      return `const ${name}: ${type} = ${value};`;
    },
  );
  if (unused.size > 0) throw new EngineError('internal', `${label}: the source does not declare ${[...unused]}`);
  return code;
}

function literal(type: string, value: number): string {
  if (type === 'bool') return value ? 'true' : 'false';
  return type === 'u32' ? `${value}u` : `f32(${value})`;
}

function cached<T>(map: Map<string, T>, key: string, make: () => T): T {
  const found = map.get(key);
  if (found !== undefined) return found;
  const made = make();
  map.set(key, made);
  return made;
}

/** Folds a count of workgroups into x and y, because one dimension holds 65,535. Kernels undo it with wg.y * grid.x + wg.x. */
export function fold(workgroups: number, limit = 65535): [number, number] {
  if (workgroups <= limit) return [workgroups, 1];
  const y = Math.ceil(workgroups / limit);
  return [Math.ceil(workgroups / y), y];
}
