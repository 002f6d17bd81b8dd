/**
 * The plan: every GPU byte's home under a budget. Either everything is resident, or the embedding's rows are read as tokens need
 * them, as many units as fit are resident, and the others stream through a ring of equal slots once a token.
 */
import { EngineError } from '../errors';
import type { CheckpointTensors, ModelConfig } from '../format/types';
import { blockBytes, type MatrixBlocks, matrixFormat, matrixPart, type StoreIndex } from './blocks';
import { formatBytes } from './byte_budget';
import { type ExpertPool, expertLayer, expertPool, leastPoolBytes, type PoolShape } from './experts';
import { imageAlignment, type Placement, placeImages, type SlabLimits, slabBytesFor } from './placement';
import { chooseResidency, smallestRing } from './residency';
import {
  bufferBytes,
  type ScratchShape,
  scratchBytes,
  sequenceBytes,
  slotBytes as stateSlotBytes,
  stateSlots,
  tokenLoopBytes,
} from './shapes';
import { type PassTimeline, type Speeds, simulatePass, type TimelineUnit } from './timeline';
import { type ModelUnits, modelUnits, type Unit } from './units';

export type PlanInput = {
  config: ModelConfig;
  tensors: CheckpointTensors;
  limits: SlabLimits;
  /** Most GPU bytes that may ever be held; undefined for no limit. */
  gpuBudgetBytes?: number;
  contextTokens: number;
  chunkTokens: number;
  kv: 'f16' | 'f32';
  /** Where the matrices lie, if not in the checkpoint's own files. */
  stored?: StoreIndex;
  /** Largest slab of resident weights; the default follows the device, tests make it small to split matrices. */
  slabBytes?: number;
  /** Of one slot; the default follows the model's largest unit. */
  slotBytes?: number;
  /** Upload buffers: how many at least and at most, and of what size where slots are as large. Default 4 of 4 MiB. */
  staging?: Staging & { mostBuffers?: number };
  /** Scales and biases are interleaved on the GPU, which takes a buffer of a piece's size; default false. */
  weave?: boolean;
  speeds?: Speeds;
  /** Of the budget, for others than what is planned here. Counted in the totals. */
  reservedBytes?: number;
  /** Units are computed as they arrive, so a prompt should pass over them once: room for residual rows although everything fits. */
  asTheyArrive?: boolean;
};

export type PlanBytes = {
  residentWeights: number;
  ring: number;
  /** Slots for experts. */
  experts: number;
  kvCache: number;
  recurrentState: number;
  scratch: number;
  staging: number;
  total: number;
};

export type MemoryPlan = {
  gpuBudgetBytes: number | undefined;
  smallestBudgetBytes: number;
  model: ModelUnits;
  /** For each unit of `model.units`: whether it passes through the ring. */
  streamed: boolean[];
  placement: Placement;
  ring: { slots: number; slotBytes: number };
  staging: { buffers: number; pieceBytes: number; weave: boolean };
  /** Of a mixture. Experts come and go through staging of their own: what waits for them may hold all of the other. */
  experts: (ExpertPool & { staging: { buffers: number; pieceBytes: number } }) | undefined;
  scratch: ScratchShape;
  /** The table that rows of the embedding are gathered into; undefined where the whole embedding is resident. */
  gather: MatrixBlocks | undefined;
  /** Slots of recurrent and conv state beside the one that steps run on: earlier moments of a conversation to return to. */
  snapshotSlots: number;
  /** Records that the weight table must hold. */
  records: number;
  bytes: PlanBytes;
  weightBytes: number;
  streamedBytesPerToken: number;
  timeline: PassTimeline | undefined;
};

const mib = 1024 * 1024;
/** Bytes of one record, and of its stride, in the weight table. */
const recordStride = 256;
const defaultStaging: Staging = { buffers: 4, pieceBytes: 4 * mib };
/** Of the uniform of the kernel that interleaves. */
const weaveParameterBytes = 16;
/** Where the prompt of a request ends with and without the opening of the reply, and two earlier moments. */
const mostSnapshotSlots = 4;

/** @throws EngineError 'budget' naming the smallest budget that would do, and the longest context that this one allows. */
export function planMemory(input: PlanInput): MemoryPlan {
  const shape = poolShape(input);
  if (!shape) return planDense(input);
  const staging = expertStaging(input, shape.slotBytes);
  const stagingBytes = staging.buffers * staging.pieceBytes;
  const least = leastPoolBytes(shape) + stagingBytes;
  const budget = input.gpuBudgetBytes ?? Number.POSITIVE_INFINITY;
  const dense = planDense({ ...input, reservedBytes: least });
  const room = Math.min(budget - (dense.bytes.total - least) - stagingBytes, shape.layers * shape.experts * shape.slotBytes);
  const pool = expertPool(shape, room);
  if (!pool) throw new EngineError('internal', `No pool of experts in ${room} bytes; report this plan.`);
  const { bytes } = dense;
  return {
    ...dense,
    gpuBudgetBytes: input.gpuBudgetBytes,
    experts: { ...pool, staging },
    bytes: {
      ...bytes,
      experts: pool.bytes,
      staging: bytes.staging + stagingBytes,
      total: bytes.total - least + pool.bytes + stagingBytes,
    },
    weightBytes: dense.weightBytes + shape.layers * shape.experts * shape.slotBytes,
    timeline: withExperts(dense.timeline, pool, input.speeds),
  };
}

/** Experts are fetched where a token waits for them: nothing else is read or computed meanwhile. */
export function withExperts(
  dense: PassTimeline | undefined,
  pool: ExpertPool,
  speeds: Speeds | undefined,
): PassTimeline | undefined {
  if (!dense || !speeds) return dense;
  const fetched = pool.expectedBytesPerToken;
  const readMs = fetched / speeds.readBytesPerMs;
  const uploadMs = fetched / speeds.uploadBytesPerMs;
  const computeMs = speeds.computeBytesPerMs ? (pool.perToken * pool.slotBytes) / speeds.computeBytesPerMs : 0;
  const more = Math.max(readMs, uploadMs) + computeMs;
  const total = { readMs: dense.readMs + readMs, uploadMs: dense.uploadMs + uploadMs, computeMs: dense.computeMs + computeMs };
  const longest = Math.max(total.readMs, total.uploadMs, total.computeMs);
  return {
    ...dense,
    ...total,
    msPerToken: dense.msPerToken + more,
    firstTokenMs: dense.firstTokenMs + more,
    stallMs: dense.msPerToken + more - longest,
    bound: longest === total.computeMs ? 'compute' : longest === total.readMs ? 'read' : 'upload',
  };
}

function poolShape({ config, tensors, limits, slabBytes }: PlanInput): PoolShape | undefined {
  if (!config.moe) return undefined;
  const layers = tensors.layers.map(({ moe }, i) => expertLayer(`layers.${i}.experts`, moe!));
  const { experts, chosen } = config.moe;
  const slotBytes = Math.max(...layers.map(({ bytes }) => bytes));
  return {
    ...{ layers: layers.length, experts, chosen, slotBytes },
    slabBytes: Math.max(slotBytes * chosen, slabBytes ?? Math.min(limits.maxBufferSize, limits.maxStorageBufferBindingSize)),
  };
}

/** Whole experts where they are small enough: one read and one copy each. */
function expertStaging(input: PlanInput, slotBytes: number): Staging {
  const { buffers, pieceBytes } = input.staging ?? defaultStaging;
  return { buffers, pieceBytes: equalPieces(slotBytes, Math.max(pieceBytes, 8 * mib)) };
}

function planDense(input: PlanInput): MemoryPlan {
  const resident = residentPlan(input, input.chunkTokens, 0);
  const stream = streaming(input);
  const lean = leanInput(input);
  const leanStream = streaming(lean);
  const leasts = (contextTokens: number) => ({
    // A slot's size is only named to see weights stream: a budget that just holds everything resident would else stream less than more.
    resident: input.slotBytes === undefined ? residentBytes({ ...input, contextTokens }, resident) : Number.POSITIVE_INFINITY,
    streamed: smallestStreamed({ ...input, contextTokens }, stream),
    lean: smallestStreamed({ ...lean, contextTokens }, leanStream),
  });
  const { resident: residentTotal, streamed: least, lean: leanLeast } = leasts(input.contextTokens);
  const smallestBudgetBytes = Math.min(residentTotal, least, leanLeast);
  const budget = input.gpuBudgetBytes ?? Number.POSITIVE_INFINITY;
  if (budget < smallestBudgetBytes) {
    const fitting = (contextTokens: number) => Math.min(...Object.values(leasts(contextTokens))) <= budget;
    throw refusal(input.contextTokens, budget, smallestBudgetBytes, longestContext(input.contextTokens, fitting));
  }
  const fits = residentTotal <= budget && residentTotal < Number.POSITIVE_INFINITY;
  if (!fits && budget < least) return { ...streamedPlan(lean, leanStream, leanLeast), smallestBudgetBytes };
  if (!fits) return { ...streamedPlan(input, stream, budget), smallestBudgetBytes };
  const spareBytes = budget - resident.bytes.total;
  // Experts come in passes too, and want what else is left.
  const { moe } = input.config;
  const passes =
    input.asTheyArrive || (moe && budget < Number.POSITIVE_INFINITY)
      ? passShare(input, spareBytes)
      : { tokens: input.chunkTokens, bytes: 0 };
  const slots = snapshotShare(input, (spareBytes - passes.bytes) / (moe ? 32 : 1)).slots;
  return { ...residentPlan(input, passes.tokens, slots), smallestBudgetBytes };
}

/**
 * The same with small slots and little staging, for a budget that the usual sizes do not fit. Such a plan streams everything, so that
 * a little more memory, which gets the usual sizes and begins with that too, never streams more.
 */
function leanInput(input: PlanInput): PlanInput {
  const usual = slotBytesFor(input.tensors, input.limits);
  const slotBytes = Math.max(leastSlot(input.tensors), Math.ceil(usual / 4 / 65536) * 65536);
  return { ...input, weave: false, staging: { buffers: 4, pieceBytes: 2 * mib }, slotBytes: input.slotBytes ?? slotBytes };
}

/** A slot holds a few rows of any matrix. */
function leastSlot(tensors: CheckpointTensors): number {
  const rows = [tensors.embedTokens, ...(tensors.lmHead ? [tensors.lmHead] : []), ...tensors.layers.map((l) => l.mlp.downProj)];
  return Math.ceil(Math.max(64 * 1024, ...rows.map((source) => blockBytes(source, 16))) / 65536) * 65536;
}

/**
 * Slots as large as a quarter of the largest unit: small enough to share, large enough to read at full speed. Models of more than a
 * few megabytes get 4 MiB at least, because every slot's worth of head is a submit.
 */
export function slotBytesFor(tensors: CheckpointTensors, limits: SlabLimits): number {
  const { units } = modelUnits(tensors, { slotBytes: 2 ** 50, residentEmbedding: true });
  const largest = Math.max(...units.filter(({ kind }) => kind !== 'embed' && kind !== 'head').map(({ bytes }) => bytes));
  const all = units.reduce((sum, { bytes }) => sum + bytes, 0);
  const quarter = Math.ceil(Math.max(largest / 4, Math.min(4 * mib, all / 64)) / 65536) * 65536;
  return Math.min(Math.max(Math.min(quarter, 32 * mib), leastSlot(tensors)), slabBytesFor(limits));
}

type Staging = { buffers: number; pieceBytes: number };
type Fixed = {
  scratch: ScratchShape;
  snapshotSlots: number;
  bytes: Omit<PlanBytes, 'residentWeights' | 'ring' | 'total'>;
  records: number;
};
/** What a plan holds more of where there is room: tokens of a pass, moments to return to. */
type Extras = { passTokens: number; snapshotSlots: number };

/** Everything but weights. */
function fixedBytes(
  input: PlanInput,
  model: ModelUnits,
  { passTokens, snapshotSlots }: Extras,
  gatherBytes: number,
  staging: Staging,
): Fixed {
  const { config, contextTokens, chunkTokens, kv } = input;
  const scratch = { chunkTokens, contextTokens, passTokens, sliceWords: Math.max(...model.head.map(({ words }) => words)) };
  const buffers = scratchBytes(config, scratch);
  const parts = model.units.flatMap(({ images }) => images).reduce((sum, { blocks }) => sum + blocks.length, 0);
  // Beside a record for each part: small parameters, and what one dispatch takes several parts for, twice a layer and once a further slab.
  const records = 2 * parts + (config.moe ? 10 : 8) * config.numHiddenLayers + 3;
  const readback = 2 * buffers.logits + (config.moe ? buffers.picks + buffers.layerPicks : 0);
  const sum = Object.values(buffers).reduce((total, bytes) => total + bytes, 0);
  return {
    scratch,
    snapshotSlots,
    records,
    bytes: {
      ...sequenceBytes(config, { contextTokens, kv, slots: stateSlots(config, snapshotSlots) }),
      scratch: sum + readback + records * recordStride + gatherBytes,
      experts: input.reservedBytes ?? 0,
      staging: staging.buffers * staging.pieceBytes + (input.weave ? bufferBytes(staging.pieceBytes) + weaveParameterBytes : 0),
    },
  };
}

const sumOf = (images: readonly { bytes: number }[]): number => images.reduce((sum, { bytes }) => sum + bytes, 0);

function finish(
  input: PlanInput,
  model: ModelUnits,
  streamed: boolean[],
  ring: MemoryPlan['ring'],
  fixed: Fixed,
  uploads: Staging,
  gather: MatrixBlocks | undefined,
): Omit<MemoryPlan, 'smallestBudgetBytes'> {
  const images = (wanted: boolean) => model.units.flatMap((unit, i) => (streamed[i] === wanted ? unit.images : []));
  const resident = [model.vectors, ...images(false)];
  const slabBytes = input.slabBytes ?? slabBytesFor(input.limits, sumOf(resident));
  const placement = placeImages(resident, images(true), slabBytes);
  const residentWeights = placement.slabs.reduce((sum, { bytes }) => sum + bufferBytes(bytes), 0);
  const ringBytes = ring.slots * ring.slotBytes;
  const { experts, kvCache, recurrentState, scratch, staging } = fixed.bytes;
  return {
    gpuBudgetBytes: input.gpuBudgetBytes,
    model,
    streamed,
    placement,
    ring,
    staging: { ...uploads, weave: input.weave ?? false },
    experts: undefined,
    scratch: fixed.scratch,
    gather,
    snapshotSlots: fixed.snapshotSlots,
    records: fixed.records,
    bytes: {
      residentWeights,
      ring: ringBytes,
      ...fixed.bytes,
      total: residentWeights + ringBytes + experts + kvCache + recurrentState + scratch + staging,
    },
    weightBytes: model.vectors.bytes + model.units.reduce((sum, { bytes }) => sum + bytes, 0),
    streamedBytesPerToken: model.units.reduce((sum, { bytes }, i) => sum + (streamed[i] ? bytes : 0), 0),
    timeline: input.speeds
      ? simulatePass(timelineUnits(model.units, streamed, input.speeds), { slots: ring.slots }, input.speeds)
      : undefined,
  };
}

function residentPlan(input: PlanInput, passTokens: number, snapshotSlots: number): Omit<MemoryPlan, 'smallestBudgetBytes'> {
  const slabBytes = input.slabBytes ?? slabBytesFor(input.limits);
  const model = modelUnits(input.tensors, { slotBytes: slabBytes, residentEmbedding: true, stored: input.stored });
  const pieceBytes = Math.min(defaultStaging.pieceBytes, Math.max(65536, Math.floor(slabBytes / 256) * 256));
  const staging = { ...defaultStaging, pieceBytes };
  const fixed = residentFixed(input, model, { passTokens, snapshotSlots }, staging);
  const streamed = model.units.map(() => false);
  return finish(input, model, streamed, { slots: 0, slotBytes: 0 }, fixed, staging, undefined);
}

function residentFixed(input: PlanInput, model: ModelUnits, extras: Extras, staging: Staging): Fixed {
  const fixed = fixedBytes(input, model, extras, 0, staging);
  fixed.bytes.scratch += tokenLoopBytes(input.config.vocabSize); // where nothing streams the GPU decodes on its own
  return fixed;
}

/** Of everything resident, without extras; the plan may be one of another context. */
function residentBytes(input: PlanInput, { model, staging, bytes }: Pick<MemoryPlan, 'model' | 'staging' | 'bytes'>): number {
  const extras = { passTokens: input.chunkTokens, snapshotSlots: 0 };
  return bytes.residentWeights + fixedTotal(residentFixed(input, model, extras, staging));
}

/** `ring`: its fewest slots. */
type Streaming = { model: ModelUnits; slotBytes: number; ring: number; staging: Staging; gather: MatrixBlocks };

function streaming(input: PlanInput): Streaming {
  const { slotBytes: wanted = slotBytesFor(input.tensors, input.limits), slabBytes = Number.POSITIVE_INFINITY } = input;
  const slotBytes = Math.floor(Math.min(wanted, slabBytes) / 16) * 16; // as buffers are; a slot's image may become resident
  const model = modelUnits(input.tensors, { slotBytes, residentEmbedding: false, stored: input.stored });
  const source = input.tensors.embedTokens;
  const { block, pairsAt } = matrixPart('embedding rows', source, 0, input.chunkTokens);
  const gather: MatrixBlocks = {
    rows: input.chunkTokens,
    cols: source.cols,
    format: matrixFormat(source),
    parts: [{ block: { ...block, fills: [] }, firstRow: 0, rows: input.chunkTokens, pairsAt }],
  };
  const ring = smallestRing(timelineUnits(model.units, allStreamed(model), input.speeds));
  const { buffers, pieceBytes } = input.staging ?? defaultStaging;
  return { model, slotBytes, ring, staging: { buffers, pieceBytes: equalPieces(slotBytes, pieceBytes) }, gather };
}

/**
 * A slot in the fewest pieces of at most `most` bytes, all alike. A browser moves a mapped staging buffer whole however little of it
 * is used, so a short last piece costs as much as the others.
 */
export function equalPieces(slotBytes: number, most: number): number {
  return Math.ceil(slotBytes / Math.ceil(slotBytes / most) / 16) * 16;
}

const fixedTotal = ({ bytes }: Fixed): number => Object.values(bytes).reduce((sum, part) => sum + part, 0);

const allStreamed = (model: ModelUnits): boolean[] => model.units.map(() => true);

function streamedFixed(input: PlanInput, { model, staging, gather }: Streaming, extras: Extras): Fixed {
  return fixedBytes(input, model, extras, bufferBytes(gather.parts[0]!.block.bytes), staging);
}

function smallestStreamed(input: PlanInput, stream: Streaming): number {
  const { model, slotBytes, ring } = stream;
  const fixed = streamedFixed(input, stream, { passTokens: input.chunkTokens, snapshotSlots: 0 });
  return fixedTotal(fixed) + bufferBytes(model.vectors.bytes) + ring * slotBytes;
}

function streamedPlan(input: PlanInput, stream: Streaming, budget: number): Omit<MemoryPlan, 'smallestBudgetBytes'> {
  const { model, slotBytes, ring, gather } = stream;
  const spareBytes = budget - smallestStreamed(input, stream);
  const passes = passShare(input, spareBytes);
  const more = stagingShare(input, stream, spareBytes);
  const snapshots = snapshotShare(input, spareBytes / 32);
  const staging = { ...stream.staging, buffers: stream.staging.buffers + more.buffers };
  const extras = { passTokens: passes.tokens, snapshotSlots: snapshots.slots };
  const fixed = streamedFixed(input, { ...stream, staging }, extras);
  // Resident images start on whole alignments.
  const images = model.units.reduce((sum, unit) => sum + unit.images.length, 0);
  const freeBytes = spareBytes - passes.bytes - more.bytes - snapshots.bytes + ring * slotBytes - (images + 1) * imageAlignment;
  const units = timelineUnits(model.units, allStreamed(model), input.speeds);
  const chosen =
    freeBytes < ring * slotBytes
      ? { streamed: allStreamed(model), ringSlots: ring }
      : chooseResidency(units, { freeBytes, slotBytes, ...(input.speeds ? { speeds: input.speeds } : {}) });
  const plan = finish(input, model, chosen.streamed, { slots: chosen.ringSlots, slotBytes }, fixed, staging, gather);
  if (plan.bytes.total > budget)
    throw new EngineError('internal', `The plan takes ${plan.bytes.total} bytes of a budget of ${budget}.`);
  return plan;
}

/**
 * A sixteenth goes to further staging, up to a bound: a copy waits in the queue for the compute before it, and meanwhile only other
 * staging buffers can be read into. `bytes` as in passShare.
 */
function stagingShare(input: PlanInput, { staging }: Streaming, spareBytes: number): { buffers: number; bytes: number } {
  const most = Math.max(0, (input.staging?.mostBuffers ?? 0) - staging.buffers);
  const bytes = Math.min(spareBytes / 16, most * staging.pieceBytes);
  return { buffers: Math.floor(bytes / staging.pieceBytes), bytes };
}

/**
 * Moments of a conversation that can be returned to within the GPU, at most a few. Where weights stream that is a thirty-second of what
 * is left, because other memory can hold them too. `bytes` as in passShare.
 */
function snapshotShare({ config, kv }: PlanInput, mostBytes: number): { slots: number; bytes: number } {
  const perSlot = stateSlotBytes(config, kv);
  if (perSlot === 0) return { slots: 0, bytes: 0 };
  const bytes = Math.min(mostBytes, mostSnapshotSlots * perSlot);
  return { slots: Math.floor(bytes / perSlot), bytes };
}

/**
 * An eighth of what the smallest plan leaves goes to residual rows: each saves a prompt a share of a pass over the weights.
 * `bytes` is what they may take, not what whole chunks then do: it grows as evenly as the budget, so that what is left for
 * weights never shrinks.
 */
function passShare({ config, chunkTokens, contextTokens }: PlanInput, spareBytes: number): { tokens: number; bytes: number } {
  const most = Math.min(contextTokens, 8192);
  if (most <= chunkTokens) return { tokens: chunkTokens, bytes: 0 };
  const rowBytes = config.hiddenSize * 4;
  const bytes = Math.min(Math.floor(spareBytes / 8), bufferBytes(most * rowBytes));
  const rows = Math.floor(bytes / rowBytes);
  return { tokens: rows >= most ? most : Math.max(1, Math.floor(rows / chunkTokens)) * chunkTokens, bytes };
}

export function timelineUnits(units: readonly Unit[], streamed: readonly boolean[], speeds: Speeds | undefined): TimelineUnit[] {
  const perMs = speeds?.computeBytesPerMs;
  return units.map(({ bytes, images }, i) => ({
    bytes,
    slots: images.length,
    streamed: streamed[i]!,
    computeMs: perMs ? bytes / perMs : 0,
  }));
}

function refusal(contextTokens: number, budget: number, smallest: number, longest: number): EngineError {
  const shorter = longest > 0 ? ` A context of ${longest} tokens would fit this budget.` : '';
  return new EngineError(
    'budget',
    `A GPU budget of ${formatBytes(budget)} is too small for this model with a context of ${contextTokens} tokens: ` +
      `it needs at least ${smallest} bytes (${formatBytes(smallest)}).${shorter}`,
  );
}

/** The longest context that fits, in steps of 256 tokens (down to 256); 0 if none does. */
function longestContext(asked: number, fits: (contextTokens: number) => boolean): number {
  let low = 0;
  let high = Math.ceil(asked / 256);
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (fits(Math.min(middle * 256, asked))) low = middle;
    else high = middle - 1;
  }
  return Math.min(low * 256, asked);
}
