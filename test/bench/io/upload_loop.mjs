/** The bare upload loops, through Dawn for Node: writeBuffer in pieces, and a ring of mapped buffers that reads fill directly. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { piecesOf, readPiece } from './files.mjs';
import { bestOf, MIB, measure } from './read_loop.mjs';

const destinationBytes = 256 * MIB;
/** Bytes that may wait in the queue on the writeBuffer path: past that, browsers allocate without bound. */
const inFlightBytes = 16 * MIB;
/** A pass moves this much, or all of the files where they are smaller. */
const passBytes = 1024 * MIB;

const writeBufferRows = [1, 2, 4, 8].map((pieceMiB) => ({ path: 'writeBuffer', pieceMiB }));
const ringRows = [
  [1, 16],
  [4, 4],
  [4, 8],
  [16, 4],
].map(([slotMiB, slots]) => ({ path: 'mapped ring', slotMiB, slots }));

/** @param read the fastest way of reading: as many readers feed writeBuffer */
export async function uploadReport(files, { repeat, read }) {
  const device = await openDevice();
  const target = new Target(device);
  const some = firstBytes(files, passBytes);
  const rows = [...writeBufferRows, ...ringRows];
  const passOf = (source) => async (row) => {
    const pieces = piecesOf(some, (row.pieceMiB ?? row.slotMiB) * MIB);
    const lanes = row.path === 'writeBuffer' ? read.readers : row.slots;
    const ms =
      row.path === 'writeBuffer'
        ? await writePass(target, pieces, row, source, lanes)
        : await ringPass(target, pieces, row, source);
    await target.check(pieces, source);
    return some.bytes / ms / 1e6;
  };
  await measure(rows, 1, passOf(fromMemory)); // the first use of a path allocates
  const upload = await measure(rows, repeat, passOf(fromMemory));
  const readAndUpload = await measure(rows, repeat, passOf(fromFile));
  const { vendor, architecture, description } = device.adapterInfo;
  return {
    adapter: { vendor, architecture, description },
    bytesPerPass: some.bytes,
    upload,
    bestUpload: bestOf(upload),
    readAndUpload,
    bestReadAndUpload: bestOf(readAndUpload),
  };
}

function firstBytes({ extents }, most) {
  let left = most;
  const some = [];
  for (const { handle, bytes } of extents) {
    if (left > 0) some.push({ handle, bytes: Math.floor(Math.min(left, bytes) / 4) * 4 }); // copies are of whole words
    left -= bytes;
  }
  return { extents: some, bytes: some.reduce((sum, { bytes }) => sum + bytes, 0) };
}

/** Where bytes come from; the loops differ in nothing else. The memory is larger than caches, as what an engine uploads is. */
const memory = new Uint8Array(128 * MIB);
for (let i = 0; i < memory.length; i += 61) memory[i] = i >>> 8;
const fromMemory = {
  fill: (piece, into) => into.set(fromMemory.view(piece)),
  /** writeBuffer can take it from where it lies. */
  view: ({ position, bytes }) => memory.subarray(position % memory.length, (position % memory.length) + bytes),
};
const fromFile = { fill: readPiece, view: undefined };

/** A storage buffer that pieces are written to one after another, from the start again when it is full. */
class Target {
  constructor(device) {
    this.device = device;
    const { STORAGE, COPY_DST, COPY_SRC, MAP_READ } = GPUBufferUsage;
    this.buffer = device.createBuffer({ label: 'destination', size: destinationBytes, usage: STORAGE | COPY_DST | COPY_SRC });
    this.readback = device.createBuffer({ label: 'readback', size: 16 * MIB, usage: MAP_READ | COPY_DST });
    this.at = 0;
  }

  /** Byte offset of the next `bytes`. */
  take(bytes) {
    if (this.at + bytes > destinationBytes) this.at = 0;
    const at = this.at;
    this.at += bytes;
    return at;
  }

  /** Where a pass's last piece went to must hold that piece: a figure for bytes that never arrived is none. */
  async check(pieces, source) {
    const piece = pieces[this.last.index];
    const expected = new Uint8Array(piece.bytes);
    await source.fill(piece, expected);
    const encoder = this.device.createCommandEncoder();
    encoder.copyBufferToBuffer(this.buffer, this.last.at, this.readback, 0, piece.bytes);
    this.device.queue.submit([encoder.finish()]);
    await this.readback.mapAsync(GPUMapMode.READ, 0, piece.bytes);
    const same = Buffer.compare(new Uint8Array(this.readback.getMappedRange(0, piece.bytes)), expected) === 0;
    this.readback.unmap();
    if (!same) throw new Error('The bytes on the GPU are not those of the file.');
  }
}

/** Milliseconds until everything has arrived. `lanes` readers with one buffer each; from memory one lane suffices. */
async function writePass(target, pieces, { pieceMiB }, source, lanes) {
  const { queue } = target.device;
  const window = new Window(queue);
  const buffers = source.view ? [undefined] : Array.from({ length: lanes }, () => new Uint8Array(pieceMiB * MIB));
  let next = 0;
  const started = performance.now();
  await Promise.all(
    buffers.map(async (buffer) => {
      while (next < pieces.length) {
        const index = next++;
        const piece = pieces[index];
        if (buffer) await source.fill(piece, buffer);
        await window.reserve(piece.bytes);
        const at = target.take(piece.bytes);
        queue.writeBuffer(target.buffer, at, source.view?.(piece) ?? buffer, 0, piece.bytes);
        target.last = { index, at };
        window.sent(piece.bytes);
      }
    }),
  );
  await queue.onSubmittedWorkDone();
  return performance.now() - started;
}

/** Holds writers back while more than `inFlightBytes` wait. The queue is asked once every 4 MiB: asking costs time too. */
class Window {
  constructor(queue) {
    this.queue = queue;
    this.waiting = [];
    this.pending = 0;
    this.unasked = 0;
  }

  async reserve(bytes) {
    while (this.pending > 0 && this.pending + bytes > inFlightBytes) {
      if (this.unasked > 0) this.ask();
      await this.waiting[0];
    }
    this.pending += bytes;
  }

  sent(bytes) {
    this.unasked += bytes;
    if (this.unasked >= 4 * MIB) this.ask();
  }

  ask() {
    const bytes = this.unasked;
    this.unasked = 0;
    this.queue.submit([]);
    const done = this.queue.onSubmittedWorkDone().then(() => {
      this.pending -= bytes;
      this.waiting.splice(this.waiting.indexOf(done), 1);
    });
    this.waiting.push(done);
  }
}

/** Milliseconds until everything has arrived. Each slot is filled, copied and mapped again on its own. */
async function ringPass(target, pieces, { slotMiB, slots }, source) {
  const { device } = target;
  const usage = GPUBufferUsage.MAP_WRITE | GPUBufferUsage.COPY_SRC;
  const ring = Array.from({ length: slots }, (_, i) => device.createBuffer({ label: `slot ${i}`, size: slotMiB * MIB, usage }));
  await Promise.all(ring.map((slot) => slot.mapAsync(GPUMapMode.WRITE)));
  let next = 0;
  const started = performance.now();
  await Promise.all(
    ring.map(async (slot) => {
      while (next < pieces.length) {
        const index = next++;
        const piece = pieces[index];
        await source.fill(piece, new Uint8Array(slot.getMappedRange()));
        slot.unmap();
        const at = target.take(piece.bytes);
        const encoder = device.createCommandEncoder();
        encoder.copyBufferToBuffer(slot, 0, target.buffer, at, piece.bytes);
        device.queue.submit([encoder.finish()]);
        target.last = { index, at };
        await slot.mapAsync(GPUMapMode.WRITE);
      }
    }),
  );
  await device.queue.onSubmittedWorkDone();
  const ms = performance.now() - started;
  for (const slot of ring) slot.destroy();
  return ms;
}

/** Dawn as src/node/open_gpu.ts finds it: SLUICE_DAWN, or the package `webgpu`; a software driver where there is no GPU. */
async function openDevice() {
  const require = createRequire(import.meta.url);
  const folder = `${process.platform}-${process.platform === 'darwin' ? 'universal' : process.arch}`;
  const path = process.env.SLUICE_DAWN ?? join(dirname(require.resolve('webgpu/package.json')), 'dist', folder, 'dawn.node');
  process.env.XDG_RUNTIME_DIR ??= '/tmp';
  const { create, globals } = require(path);
  Object.assign(globalThis, globals);
  const request = async () => {
    const gpu = create([]);
    globalThis.ioBench = [...(globalThis.ioBench ?? []), gpu]; // Dawn's mutexes live in it: it must never be collected
    return gpu.requestAdapter({ powerPreference: 'high-performance' });
  };
  const software = '/usr/lib/chromium/vk_swiftshader_icd.json';
  let adapter = await request().catch(() => null);
  if (!adapter && !process.env.VK_ICD_FILENAMES && !process.env.VK_DRIVER_FILES && existsSync(software)) {
    process.env.VK_ICD_FILENAMES = software;
    adapter = await request();
  }
  if (!adapter) throw new Error('Dawn finds no adapter. Install a Vulkan driver, or set VK_ICD_FILENAMES to one.');
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
  const device = await adapter.requestDevice({ requiredLimits: { maxBufferSize, maxStorageBufferBindingSize } });
  device.addEventListener?.('uncapturederror', ({ error }) => {
    console.error(`io: ${error.message}`);
    process.exit(1);
  });
  return device;
}
