/**
 * What a step does with weights that stream, seen from outside: which bytes its reads ask for, and in which order copies and compute go
 * into the GPU's queue.
 */
import { afterEach, beforeAll, expect, test } from 'vitest';
import { ModelSession, type SessionOptions, sessionPlan } from '../../src/engine/model_session';
import type { Gpu } from '../../src/gpu/device';
import { openNodeGpu } from '../../src/node/open_gpu';
import { sourcesOf, windowsOf } from '../../src/plan/windows';
import type { OpenedCheckpoint } from '../../src/stream/open_checkpoint';
import { regularLayerTypes } from '../../src/synth/presets';
import { type Ids, loggedReads, logitsOf, oneByOne, openSynthetic, someIds, tinyShapes } from './memory_model';

const base: SessionOptions = { contextTokens: 128, chunkTokens: 8, kv: 'f32', f16: false, slotBytes: 16_384 };
const vocab = 300;

let gpu: Gpu;
let checkpoint: OpenedCheckpoint;
beforeAll(async () => {
  gpu = await openNodeGpu();
  // Untied, so that rows of the embedding are told from the head's; more layers than the ring holds.
  const shapes = { ...tinyShapes, layerTypes: regularLayerTypes(8), tieWordEmbeddings: false };
  checkpoint = await openSynthetic({ shapes, bits: 4 });
});
afterEach(() => gpu.memory.release());

/** A session `share` of the way from the smallest budget to one that holds all weights; `reads` grows with every read of a file. */
async function logged(share: number) {
  const { sources, reads } = loggedReads(checkpoint);
  const { smallestBudgetBytes, weightBytes } = sessionPlan(gpu, checkpoint, base);
  const gpuBudgetBytes = smallestBudgetBytes + Math.floor(share * weightBytes);
  const session = await ModelSession.load(gpu, { ...checkpoint, sources }, { ...base, gpuBudgetBytes });
  return { session, reads };
}

/** The reads that the plan foresees of one sweep over the units, in its order. */
function foreseen({ plan }: ModelSession): string[] {
  const streamed = plan.model.units.flatMap(({ images }, i) => (plan.streamed[i] ? images : []));
  return streamed.flatMap((image) =>
    windowsOf(image, plan.staging.pieceBytes).flatMap(({ fills }) =>
      fills.flatMap(sourcesOf).map(({ file, byteOffset, byteLength }) => `${file} ${byteOffset} ${byteLength}`),
    ),
  );
}

const step = ({ runner, sequence }: ModelSession, tokens: Ids) => runner.step([{ sequence, tokens, logits: 'last' }]);
/** Until what is read ahead is read. */
const quiet = async (reads: readonly string[]) => {
  for (let before = -1; before !== reads.length; ) {
    before = reads.length;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
};
const times = (reads: readonly string[]): Map<string, number> => {
  const counts = new Map<string, number>();
  for (const read of reads) counts.set(read, (counts.get(read) ?? 0) + 1);
  return counts;
};

test.each([{ share: 0 }, { share: 0.5 }])(
  'a token reads what the plan says, each range once, in its order; a prompt in one pass no more: budget share $share',
  async ({ share }) => {
    const { session, reads } = await logged(share);
    const wanted = foreseen(session);
    expect(wanted.length).toBeGreaterThan(20);
    const streamed = new Set(wanted);
    const ofUnits = () => reads.filter((read) => streamed.has(read));
    for (const id of oneByOne(someIds(2, vocab))) await step(session, id);
    await quiet(reads);
    reads.length = 0;
    const tokens = 5;
    for (const id of oneByOne(someIds(tokens, vocab, 7))) await step(session, id);
    await quiet(reads);
    // The ring is as full as before, so what was read is what was used.
    expect(times(ofUnits())).toEqual(new Map(wanted.map((read) => [read, tokens])));
    const order = ofUnits().slice(0, wanted.length);
    // Several readers take windows in turn: one may ask a moment before the other.
    const places = order.map((read) => wanted.indexOf(read));
    const start = places[0]!;
    const late = places.map((place, i) => Math.abs(((place - start + wanted.length) % wanted.length) - i));
    expect(Math.max(...late.map((by) => Math.min(by, wanted.length - by)))).toBeLessThan(4 * session.plan.staging.buffers);
    // Rows of the embedding: a few kilobytes.
    const rest = reads.filter((read) => !streamed.has(read)).reduce((sum, read) => sum + Number(read.split(' ')[2]), 0);
    expect(rest).toBeLessThan(tokens * 200);

    const { passTokens } = session.plan.scratch;
    reads.length = 0;
    const prompt = someIds(Math.min(passTokens, 40), vocab, 3);
    await step(session, prompt);
    await quiet(reads);
    expect(times(ofUnits())).toEqual(new Map(wanted.map((read) => [read, 1])));
    if (share > 0) expect(prompt.length).toBeGreaterThan(2 * base.chunkTokens);
    session.destroy();
  },
);

/** What goes into the queue: a copy into a slot of the ring, or compute that reads some. */
type Queued = { copy: { slot: string; from: number; to: number } } | { reads: Set<string> };

/** Records every submit of `gpu` from now on. */
function watchQueue(): { gpu: Gpu; queued: Queued[] } {
  const { device } = gpu;
  const queued: Queued[] = [];
  const slotsOf = new Map<GPUBindGroup, string[]>();
  const recorded = new Map<GPUCommandBuffer, Queued[]>();
  const watched = new Proxy(device, {
    get(target, name) {
      if (name === 'queue') return queue;
      if (name === 'createBindGroup') return createBindGroup;
      if (name === 'createCommandEncoder') return createCommandEncoder;
      const value = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  const queue = new Proxy(device.queue, {
    get(target, name) {
      const value = Reflect.get(target, name, target);
      if (name !== 'submit') return typeof value === 'function' ? value.bind(target) : value;
      return (commands: GPUCommandBuffer[]) => {
        for (const each of commands) queued.push(...(recorded.get(each) ?? []));
        target.submit(commands);
      };
    },
  });
  const createBindGroup = (descriptor: GPUBindGroupDescriptor) => {
    const group = device.createBindGroup(descriptor);
    const labels = [...descriptor.entries].map(({ resource }) => (resource as GPUBufferBinding).buffer?.label ?? '');
    slotsOf.set(
      group,
      labels.filter((label) => label.startsWith('ring slot')),
    );
    return group;
  };
  const createCommandEncoder = (descriptor?: GPUCommandEncoderDescriptor) => {
    const encoder = device.createCommandEncoder(descriptor);
    const list: Queued[] = [];
    const { copyBufferToBuffer, beginComputePass, finish } = encoder;
    encoder.copyBufferToBuffer = ((source: GPUBuffer, at: number, target: GPUBuffer, to: number, bytes: number) => {
      if (target.label.startsWith('ring slot')) list.push({ copy: { slot: target.label, from: to, to: to + bytes } });
      copyBufferToBuffer.call(encoder, source, at, target, to, bytes);
    }) as GPUCommandEncoder['copyBufferToBuffer'];
    encoder.beginComputePass = (passDescriptor?: GPUComputePassDescriptor) => {
      const pass = beginComputePass.call(encoder, passDescriptor);
      const reads = new Set<string>();
      list.push({ reads });
      const { setBindGroup } = pass;
      pass.setBindGroup = ((index: number, group: GPUBindGroup, ...more: never[]) => {
        for (const slot of slotsOf.get(group) ?? []) reads.add(slot);
        Reflect.apply(setBindGroup, pass, [index, group, ...more]);
      }) as GPUComputePassEncoder['setBindGroup'];
      return pass;
    };
    encoder.finish = () => {
      const commands = finish.call(encoder);
      recorded.set(commands, list);
      return commands;
    };
    return encoder;
  };
  return { gpu: { ...gpu, device: watched }, queued };
}

test('a slot is overwritten only behind compute that read it, and streamed decode submits per unit', async () => {
  const watch = watchQueue();
  const gpuBudgetBytes = sessionPlan(gpu, checkpoint, base).smallestBudgetBytes;
  const session = await ModelSession.load(watch.gpu, checkpoint, { ...base, gpuBudgetBytes });
  const tokens = 4;
  await logitsOf(session, [someIds(20, vocab), ...oneByOne(someIds(tokens, vocab, 5))]);
  const { plan } = session;
  session.destroy();
  const units = plan.streamed.filter(Boolean).length;
  expect(plan.ring.slots).toBeLessThan(units);
  /** Ranges of each slot that nothing has read since they were copied. */
  const unread = new Map<string, { from: number; to: number }[]>();
  let copies = 0;
  let computing = 0;
  for (const each of watch.queued) {
    if ('copy' in each) {
      const { slot, from, to } = each.copy;
      const before = unread.get(slot) ?? [];
      expect(before.filter((range) => range.from < to && from < range.to)).toEqual([]);
      unread.set(slot, [...before, { from, to }]);
      copies += 1;
      continue;
    }
    if (each.reads.size > 0) computing += 1;
    expect(each.reads.size).toBeLessThan(plan.ring.slots); // others fill meanwhile
    for (const slot of each.reads) unread.delete(slot);
  }
  expect(copies).toBeGreaterThan((tokens + 1) * units);
  expect(computing).toBeGreaterThanOrEqual((tokens + 1) * units);
});
