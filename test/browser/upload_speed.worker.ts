import { openGpu } from '../../src/gpu/device';
import { chooseUpload, createMappedUpload, createWriteUpload, type UploadPath } from '../../src/stream/upload';
import type { ReaderPiece } from './upload_reader.worker';

export type SpeedRequest = {
  fileName: string;
  fileBytes: number;
  passes: number;
  pieces: number[];
  buffers: number[];
  readers: number[];
  paths: boolean;
  /** To reader threads, as many as the largest of `readers`. */
  ports: MessagePort[];
};
/**
 * `what`: 'read…' is from disk cache to CPU, 'memory …' from memory to GPU buffer, everything else from disk cache to GPU buffer.
 * 'path …' goes through src/stream/upload. With `readers` other threads read; `pool`: their buffers, of `pieceBytes`, all together.
 * Speeds in GB/s: of the best, the median and the slowest pass.
 */
export type SpeedRow = {
  what: string;
  pieceBytes: number;
  buffers?: number;
  readers?: number;
  pool?: number;
  best: number;
  median: number;
  slowest: number;
};
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
type FileHandle = FileSystemFileHandle & { createSyncAccessHandle(options: { mode: string }): Promise<File> };

/** Moves the whole file once. */
type Loop = () => Promise<void>;

/** Where the pieces land, over and over. */
const targetBytes = 64 * 2 ** 20;

let device: GPUDevice;
let file: File;
let target: GPUBuffer;

async function measure(request: SpeedRequest): Promise<SpeedResult> {
  const { fileName, fileBytes, passes, pieces, buffers, readers, ports } = request;
  const gpu = await openGpu(navigator.gpu);
  device = gpu.device;
  const { vendor, architecture, description } = gpu.adapter;
  const result: SpeedResult = { adapter: [vendor, architecture, description].filter(Boolean).join(' '), rows: [] };
  target = device.createBuffer({ size: targetBytes, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST });
  const root = await navigator.storage.getDirectory();
  const handle = (await root.getFileHandle(fileName, { create: true })) as FileHandle;
  file = await handle.createSyncAccessHandle({ mode: 'readwrite-unsafe' });
  try {
    result.writtenGigabytesPerSecond = writeFile(fileBytes);
    for (const port of ports) await told(port, 'open');
    const timed = async (row: Omit<SpeedRow, 'best' | 'median' | 'slowest'>, loop: Loop) => {
      const speeds: number[] = [];
      for (let pass = 0; pass <= passes; pass++) {
        const start = performance.now();
        await loop();
        if (pass > 0) speeds.push(Math.round(fileBytes / (performance.now() - start) / 1e3) / 1e3); // the first warms up
      }
      speeds.sort((a, b) => b - a);
      result.rows.push({ ...row, best: speeds[0]!, median: speeds[speeds.length >> 1]!, slowest: speeds.at(-1)! });
    };
    for (const pieceBytes of pieces) {
      const offsets = Array.from({ length: Math.floor(fileBytes / pieceBytes) }, (_, n) => n * pieceBytes);
      const memory = new Uint8Array(pieceBytes).fill(1);
      await timed({ what: 'read', pieceBytes }, readAlone(offsets, pieceBytes));
      await timed(
        { what: 'memory, writeBuffer', pieceBytes },
        written(offsets, pieceBytes, () => memory),
      );
      const into = new Uint8Array(pieceBytes);
      const readInto = (at: number) => {
        file.read(into, { at });
        return into;
      };
      await timed({ what: 'read, writeBuffer', pieceBytes }, written(offsets, pieceBytes, readInto));
      for (const count of buffers) {
        const ring = (fill: Fill) => mappedRing(offsets, pieceBytes, count, fill);
        const row = { pieceBytes, buffers: count };
        await timed(
          { what: 'memory into mapped ring', ...row },
          ring((mapped) => mapped.set(memory)),
        );
        await timed(
          { what: 'read into mapped ring', ...row },
          ring((mapped, at) => file.read(mapped, { at })),
        );
      }
      for (const count of readers) {
        for (const pool of [Math.max(4, count), 2 * Math.max(4, count)]) {
          const pieces = new ReaderPieces(ports.slice(0, count), pieceBytes, pool);
          const row = { pieceBytes, readers: count, pool };
          await timed({ what: 'readers alone', ...row }, () => pieces.each(offsets, async (_, __, done) => done()));
          await timed({ what: 'readers, writeBuffer', ...row }, readersWritten(offsets, pieces));
          for (const buffers of request.buffers)
            await timed(
              { what: 'readers into mapped ring', ...row, buffers },
              readersMapped(offsets, pieces, pieceBytes, buffers),
            );
        }
      }
      for (const count of request.paths ? buffers : []) {
        for (const path of [
          createMappedUpload(gpu, { pieceBytes, buffers: count }),
          createWriteUpload(gpu, { pieceBytes, buffers: count }),
        ]) {
          await timed({ what: `path ${path.kind}`, pieceBytes, buffers: count }, throughPath(offsets, path));
          path.destroy();
        }
      }
    }
    const start = performance.now();
    const { path, bytesPerSecond } = await chooseUpload(gpu);
    result.chosen = { kind: path.kind, bytesPerSecond, ms: performance.now() - start };
  } finally {
    for (const port of ports) port.postMessage('close');
    file.close();
    await root.removeEntry(fileName).catch(() => {}); // a reader may not have closed it yet
  }
  return result;
}

/** A reader says the word back when it has done it. */
function told(port: MessagePort, word: string): Promise<void> {
  return new Promise((resolve) => {
    port.onmessage = () => resolve();
    port.postMessage(word);
  });
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

/** What the queue takes in at once at most: two batches of 8 MiB, as the engine allows itself. */
class WriteWindow {
  readonly #inFlight: Promise<undefined>[] = [];
  #batch = 0;

  async write(bytes: Uint8Array<ArrayBuffer>, at: number): Promise<void> {
    device.queue.writeBuffer(target, at % targetBytes, bytes);
    this.#batch += bytes.byteLength;
    if (this.#batch < 8 * 2 ** 20) return;
    this.#batch = 0;
    device.queue.submit([]);
    this.#inFlight.push(device.queue.onSubmittedWorkDone());
    if (this.#inFlight.length > 1) await this.#inFlight.shift();
  }

  async end(): Promise<void> {
    device.queue.submit([]);
    await device.queue.onSubmittedWorkDone();
  }
}

function written(offsets: number[], pieceBytes: number, bytesAt: (at: number) => Uint8Array<ArrayBuffer>): Loop {
  return async () => {
    const window = new WriteWindow();
    for (const at of offsets) await window.write(bytesAt(at).subarray(0, pieceBytes), at);
    await window.end();
  };
}

type Fill = (into: Uint8Array<ArrayBuffer>, at: number) => void;

/** Mapped buffers, each copied to the target and mapped again. */
class MappedRing {
  readonly #pieceBytes: number;
  readonly #slots: { buffer: GPUBuffer; mapped: Promise<undefined> }[];
  #next = 0;

  constructor(pieceBytes: number, count: number) {
    this.#pieceBytes = pieceBytes;
    const usage = GPUBufferUsage.MAP_WRITE | GPUBufferUsage.COPY_SRC;
    this.#slots = Array.from({ length: count }, () => {
      const buffer = device.createBuffer({ size: pieceBytes, usage });
      return { buffer, mapped: buffer.mapAsync(GPUMapMode.WRITE) };
    });
  }

  async send(at: number, fill: Fill): Promise<void> {
    const slot = this.#slots[this.#next++ % this.#slots.length]!;
    await slot.mapped;
    fill(new Uint8Array(slot.buffer.getMappedRange()), at);
    slot.buffer.unmap();
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(slot.buffer, 0, target, at % targetBytes, this.#pieceBytes);
    device.queue.submit([encoder.finish()]);
    slot.mapped = slot.buffer.mapAsync(GPUMapMode.WRITE);
  }

  async end(): Promise<void> {
    await Promise.all(this.#slots.map(({ mapped }) => mapped));
  }
}

function mappedRing(offsets: number[], pieceBytes: number, count: number, fill: Fill): Loop {
  const ring = new MappedRing(pieceBytes, count);
  return async () => {
    for (const at of offsets) await ring.send(at, fill);
    await ring.end();
  };
}

/** Pieces that other threads read, in whatever order they come; a buffer goes back for the next one as soon as it is done with. */
class ReaderPieces {
  readonly #ports: readonly MessagePort[];
  /** Buffers that nobody uses, of each port. */
  readonly #free: ArrayBuffer[][];

  constructor(ports: readonly MessagePort[], pieceBytes: number, pool: number) {
    this.#ports = ports;
    const each = Math.floor(pool / ports.length);
    this.#free = ports.map(() => Array.from({ length: each }, () => new ArrayBuffer(pieceBytes)));
  }

  async each(
    offsets: number[],
    use: (bytes: Uint8Array<ArrayBuffer>, at: number, done: () => void) => Promise<void>,
  ): Promise<void> {
    const arrived: { port: number; piece: ReaderPiece }[] = [];
    let wake = () => {};
    let next = 0;
    const ask = (port: number, buffer: ArrayBuffer) => {
      const at = offsets[next++];
      if (at === undefined) this.#free[port]!.push(buffer);
      else this.#ports[port]!.postMessage({ at, buffer } satisfies ReaderPiece, [buffer]);
    };
    for (const [index, port] of this.#ports.entries()) {
      port.onmessage = ({ data }: MessageEvent<ReaderPiece>) => {
        arrived.push({ port: index, piece: data });
        wake();
      };
    }
    for (let round = this.#free[0]!.length; round > 0; round--)
      for (const [index, free] of this.#free.entries()) ask(index, free.shift()!);
    for (let used = 0; used < offsets.length; used++) {
      while (arrived.length === 0)
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      const { port, piece } = arrived.shift()!;
      await use(new Uint8Array(piece.buffer), piece.at, () => ask(port, piece.buffer));
    }
  }
}

function readersWritten(offsets: number[], pieces: ReaderPieces): Loop {
  return async () => {
    const window = new WriteWindow();
    await pieces.each(offsets, async (bytes, at, done) => {
      const room = window.write(bytes, at); // has copied when it returns
      done();
      await room;
    });
    await window.end();
  };
}

function readersMapped(offsets: number[], pieces: ReaderPieces, pieceBytes: number, count: number): Loop {
  const ring = new MappedRing(pieceBytes, count);
  return async () => {
    await pieces.each(offsets, async (bytes, at, done) => {
      await ring.send(at, (mapped) => {
        mapped.set(bytes);
        done();
      });
    });
    await ring.end();
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
