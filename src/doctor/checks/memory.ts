/**
 * The allocation ladder: slabs as large as the engine's, one more at every level, each filled on the GPU, all of them held. A device of its
 * own, because losing it is one of the outcomes. The page keeps every step before it is taken: where a browser kills the tab instead of
 * refusing, the next visit tells how far it came.
 */
import { type Gpu, openGpu } from '../../gpu/device';
import { Readback, submittedWorkDone } from '../../gpu/readback';
import { bytesText, type Context, gib, mib, type Outcome, withIdlePlant } from '../context';
import type { Plant } from '../plant';
import type { MemoryFacts } from '../report';

/** Bytes that differ between slabs, at both ends of each. */
const stampBytes = 16;

export async function checkMemory({ options, say }: Context): Promise<Outcome<MemoryFacts>> {
  const gpu = await openGpu(navigator.gpu);
  const { isCpu, limits } = gpu.adapter;
  const askedBytes = options.memoryBytes ?? (isCpu ? gib / 4 : 4 * gib);
  const largest = Math.min(limits.maxBufferSize!, limits.maxStorageBufferBindingSize!);
  const slabBytes = Math.min((isCpu ? 64 : 256) * mib, Math.floor(largest / mib) * mib, Math.ceil(askedBytes / 16) * 16);
  const facts: MemoryFacts = {
    ...{ slabBytes, askedBytes, survivedBytes: 0, levelMs: [], recovered: undefined },
    ...{ end: 'as far as asked', detail: '' },
  };
  try {
    await climb(gpu, facts, options, say);
  } finally {
    gpu.memory.release();
    gpu.device.destroy();
  }
  if (facts.end === 'device lost') facts.recovered = await opensAgain();
  return withIdlePlant({ ...judged(facts), facts }, neverLost(facts, options.plant));
}

function neverLost({ end, survivedBytes }: MemoryFacts, plant: Plant | undefined): string | undefined {
  if (!plant || !('loseDeviceAtBytes' in plant) || end === 'device lost') return undefined;
  return `the planted loss of the device never came: ${bytesText(survivedBytes)} were held`;
}

async function climb(gpu: Gpu, facts: MemoryFacts, { plant }: Context['options'], say: Context['say']): Promise<void> {
  const levels = Math.max(1, Math.floor(facts.askedBytes / facts.slabBytes));
  const slabs: GPUBuffer[] = [];
  for (let level = 1; level <= levels; level++) {
    const heldBytes = level * facts.slabBytes;
    await say({ done: level - 1, total: levels, step: `holding ${bytesText(heldBytes)}`, heldBytes });
    const started = performance.now();
    if (plant && 'loseDeviceAtBytes' in plant && heldBytes >= plant.loseDeviceAtBytes) gpu.device.destroy();
    const end = await oneMore(gpu, slabs, facts.slabBytes);
    if (end) {
      Object.assign(facts, end);
      return;
    }
    facts.levelMs.push(performance.now() - started);
    facts.survivedBytes = heldBytes;
  }
  const damaged = await firstDamaged(gpu, slabs, 1);
  if (damaged !== undefined) Object.assign(facts, damage(damaged, slabs.length));
}

type End = Pick<MemoryFacts, 'end' | 'detail'>;

/** Makes and fills a slab. What ended the climb, if something did. */
async function oneMore(gpu: Gpu, slabs: GPUBuffer[], bytes: number): Promise<End | undefined> {
  const { COPY_DST, COPY_SRC, STORAGE } = GPUBufferUsage;
  try {
    const slab = await gpu.memory.guarded('a slab', () => gpu.memory.create('doctor slab', bytes, STORAGE | COPY_DST | COPY_SRC));
    slabs.push(slab);
    const encoder = gpu.device.createCommandEncoder();
    encoder.clearBuffer(slab); // memory that nothing was written to may not be there yet
    gpu.device.queue.submit([encoder.finish()]);
    for (const at of [0, bytes - stampBytes]) gpu.device.queue.writeBuffer(slab, at, stamp(slabs.length));
    // Read back at once: a browser may take a while to notice that a device is gone, and grants everything meanwhile.
    const damaged = await firstDamaged(gpu, [slab], slabs.length);
    return damaged === undefined ? lossOf(gpu) : ((await lossSoon(gpu)) ?? damage(damaged, slabs.length));
  } catch (error) {
    return (await lossSoon(gpu)) ?? { end: 'out of memory', detail: (error as Error).message };
  }
}

const lossOf = ({ loss }: Gpu): End | undefined =>
  loss.info ? { end: 'device lost', detail: `${loss.info.reason}: ${loss.info.message}` } : undefined;

/** The news of a loss may come after its effects. */
async function lossSoon(gpu: Gpu): Promise<End | undefined> {
  await Promise.race([gpu.device.lost, new Promise((resolve) => setTimeout(resolve, 1000))]);
  return lossOf(gpu);
}

const stamp = (number: number): Float32Array<ArrayBuffer> => new Float32Array(stampBytes / 4).fill(number);

const damage = (slab: number, of: number): End => ({
  end: 'damaged',
  detail: `slab ${slab} of ${of} does not hold what it was given`,
});

/** The number of the first slab without its stamps, `first` being that of the first one given. */
async function firstDamaged(gpu: Gpu, slabs: readonly GPUBuffer[], first: number): Promise<number | undefined> {
  const bytes = 2 * stampBytes * slabs.length;
  const readback = new Readback(gpu, 'doctor stamps', bytes);
  const all = gpu.memory.create('doctor stamps', bytes, GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC);
  try {
    const encoder = gpu.device.createCommandEncoder();
    for (const [i, slab] of slabs.entries()) {
      encoder.copyBufferToBuffer(slab, 0, all, 2 * i * stampBytes, stampBytes);
      encoder.copyBufferToBuffer(slab, slab.size - stampBytes, all, (2 * i + 1) * stampBytes, stampBytes);
    }
    readback.copyFrom(encoder, all, 0, bytes);
    gpu.device.queue.submit([encoder.finish()]);
    const slabOf = (word: number) => Math.floor(word / ((2 * stampBytes) / 4)) + first;
    const wrong = (await readback.floats(bytes)).findIndex((value, word) => value !== slabOf(word));
    return wrong < 0 ? undefined : slabOf(wrong);
  } finally {
    readback.destroy();
    gpu.memory.destroy(all);
  }
}

/** A page whose device was lost must get another one; some browsers want a moment. */
async function opensAgain(): Promise<boolean> {
  for (const wait of [0, 500, 2000]) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    try {
      const gpu = await openGpu(navigator.gpu);
      await submittedWorkDone(gpu);
      gpu.device.destroy();
      return true;
    } catch {} // asked again after a while
  }
  return false;
}

function judged(facts: MemoryFacts): Omit<Outcome<MemoryFacts>, 'facts'> {
  const held = bytesText(facts.survivedBytes);
  switch (facts.end) {
    case 'as far as asked':
      return { status: 'passed', summary: `${held} held at once, as far as it was asked to go.` };
    case 'out of memory':
      return { status: 'noted', summary: `${held} held; the browser refused more.` };
    case 'damaged':
      return {
        status: 'failed',
        summary: `${held} were granted, but they do not hold what was written.`,
        problems: [facts.detail],
      };
    case 'device lost': {
      const summary = `The device was lost beyond ${held}${facts.recovered ? ', and the browser gave another one' : ''}.`;
      if (facts.recovered) return { status: 'noted', summary };
      return { status: 'failed', summary, problems: [`no new device after the loss: ${facts.detail}`] };
    }
  }
}
