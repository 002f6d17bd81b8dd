import { openGpu } from '../../src/gpu/device';
import { chooseUpload, createMappedUpload, createWriteUpload, type UploadPath } from '../../src/stream/upload';

export type SpeedRequest = { fileBytes: number; passes: number; pieces: number[]; buffers: number[] };
/** `what`: 'read' is from disk cache to CPU, 'memory …' from memory to GPU buffer, everything else from disk cache to GPU buffer. 'path …' goes through src/stream/upload. */
export type SpeedRow = { what: string; pieceBytes: number; buffers?: number; gigabytesPerSecond: number };
export type SpeedResult = {
  adapter: string;
  rows: SpeedRow[];
  chosen?: unknown;
  writtenGigabytesPerSecond?: number;
  error?: string;
};

/** What the DOM library declares for workers only. */
type File = {
  read(into: Uint8Array<ArrayBuffer>, options: { at: number }): number;
  write(bytes: Uint8Array<ArrayBuffer>, options: { at: number }): number;
  flush(): void;
  close(): void;
};
type FileHandle = FileSystemFileHandle & { createSyncAccessHandle(): Promise<File> };

/** Moves the whole file once. */
type Loop = () => Promise<void>;

/** Where the pieces land, over and over. */
const targetBytes = 64 * 2 ** 20;

let device: GPUDevice;
let file: File;
let target: GPUBuffer;

async function measure({ fileBytes, passes, pieces, buffers }: SpeedRequest): Promise<SpeedResult> {
  const gpu = await openGpu(navigator.gpu);
  device = gpu.device;
  const { vendor, architecture, description } = gpu.adapter;
  const result: SpeedResult = { adapter: [vendor, architecture, description].filter(Boolean).join(' '), rows: [] };
  target = device.createBuffer({ size: targetBytes, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST });
  const root = await navigator.storage.getDirectory();
  file = await ((await root.getFileHandle('upload-speed', { create: true })) as FileHandle).createSyncAccessHandle();
  try {
    result.writtenGigabytesPerSecond = writeFile(fileBytes);
    const best = async (row: Omit<SpeedRow, 'gigabytesPerSecond'>, loop: Loop) => {
      let ms = Number.POSITIVE_INFINITY;
      for (let pass = 0; pass <= passes; pass++) {
        const start = performance.now();
        await loop();
        if (pass > 0) ms = Math.min(ms, performance.now() - start); // the first warms up
      }
      result.rows.push({ ...row, gigabytesPerSecond: Math.round(fileBytes / ms / 1e3) / 1e3 });
    };
    for (const pieceBytes of pieces) {
      const offsets = Array.from({ length: Math.floor(fileBytes / pieceBytes) }, (_, n) => n * pieceBytes);
      await best({ what: 'read', pieceBytes }, readAlone(offsets, pieceBytes));
      await best({ what: 'read, writeBuffer', pieceBytes }, readThenWrite(offsets, pieceBytes));
      const memory = new Uint8Array(pieceBytes).fill(1);
      for (const count of buffers) {
        const ring = (fill: Fill) => mappedRing(offsets, pieceBytes, count, fill);
        await best(
          { what: 'memory into mapped ring', pieceBytes, buffers: count },
          ring((into) => into.set(memory)),
        );
        await best(
          { what: 'read into mapped ring', pieceBytes, buffers: count },
          ring((into, at) => file.read(into, { at })),
        );
      }
      for (const count of buffers) {
        for (const path of [
          createMappedUpload(gpu, { pieceBytes, buffers: count }),
          createWriteUpload(gpu, { pieceBytes, buffers: count }),
        ]) {
          await best({ what: `path ${path.kind}`, pieceBytes, buffers: count }, throughPath(offsets, path));
          path.destroy();
        }
      }
    }
    const start = performance.now();
    const { path, bytesPerSecond } = await chooseUpload(gpu);
    result.chosen = { kind: path.kind, bytesPerSecond, ms: performance.now() - start };
  } finally {
    file.close();
    await root.removeEntry('upload-speed');
  }
  return result;
}

/** Gigabytes a second. */
function writeFile(fileBytes: number): number {
  const piece = Uint8Array.from({ length: 4 * 2 ** 20 }, (_, i) => Math.imul(i, 2_654_435_761) >>> 24);
  const start = performance.now();
  for (let at = 0; at < fileBytes; at += piece.byteLength) {
    const bytes = Math.min(piece.byteLength, fileBytes - at);
    if (file.write(piece.subarray(0, bytes), { at }) !== bytes) throw new Error(`no room for ${fileBytes} bytes`);
  }
  file.flush();
  return fileBytes / (performance.now() - start) / 1e6;
}

function readAlone(offsets: number[], pieceBytes: number): Loop {
  const into = new Uint8Array(pieceBytes);
  return async () => {
    for (const at of offsets) file.read(into, { at });
  };
}

/** As much in flight as the engine allows itself: two batches of 8 MiB. */
function readThenWrite(offsets: number[], pieceBytes: number): Loop {
  const into = new Uint8Array(pieceBytes);
  return async () => {
    const inFlight: Promise<undefined>[] = [];
    let batch = 0;
    for (const at of offsets) {
      file.read(into, { at });
      device.queue.writeBuffer(target, at % targetBytes, into);
      batch += pieceBytes;
      if (batch < 8 * 2 ** 20) continue;
      batch = 0;
      device.queue.submit([]);
      inFlight.push(device.queue.onSubmittedWorkDone());
      if (inFlight.length > 1) await inFlight.shift();
    }
    device.queue.submit([]);
    await device.queue.onSubmittedWorkDone();
  };
}

type Fill = (into: Uint8Array<ArrayBuffer>, at: number) => void;

function mappedRing(offsets: number[], pieceBytes: number, count: number, fill: Fill): Loop {
  const usage = GPUBufferUsage.MAP_WRITE | GPUBufferUsage.COPY_SRC;
  const ring = Array.from({ length: count }, () => {
    const buffer = device.createBuffer({ size: pieceBytes, usage });
    return { buffer, mapped: buffer.mapAsync(GPUMapMode.WRITE) };
  });
  return async () => {
    for (const [n, at] of offsets.entries()) {
      const slot = ring[n % count]!;
      await slot.mapped;
      fill(new Uint8Array(slot.buffer.getMappedRange()), at);
      slot.buffer.unmap();
      const encoder = device.createCommandEncoder();
      encoder.copyBufferToBuffer(slot.buffer, 0, target, at % targetBytes, pieceBytes);
      device.queue.submit([encoder.finish()]);
      slot.mapped = slot.buffer.mapAsync(GPUMapMode.WRITE);
    }
    await Promise.all(ring.map(({ mapped }) => mapped));
  };
}

function throughPath(offsets: number[], path: UploadPath): Loop {
  return async () => {
    for (const at of offsets)
      await path.upload(target, at % targetBytes, path.pieceBytes, (into) => void file.read(into, { at }));
    await path.idle();
  };
}

self.onmessage = ({ data }: MessageEvent<SpeedRequest>) => {
  measure(data)
    .catch((error: unknown): SpeedResult => ({ adapter: '', rows: [], error: String(error) }))
    .then((result) => self.postMessage(result));
};
