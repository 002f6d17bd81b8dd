/** What every UploadPath promises, as cases that need no test framework: vitest runs them on Dawn, a worker in a browser. */
import { isAbort } from '../../src/errors';
import type { Gpu } from '../../src/gpu/device';
import {
  chooseUpload,
  createMappedUpload,
  createWriteUpload,
  stagingBytes,
  type UploadKind,
  type UploadPath,
} from '../../src/stream/upload';
import {
  aborting,
  bytesOf,
  filling,
  Gate,
  hasCode,
  later,
  mega,
  neverFills,
  pattern,
  random,
  rejects,
  same,
  sameBytes,
  slowCopier,
  within,
} from './upload_harness';

export type UploadCase = {
  name: string;
  /** Loses its device, so it needs one of its own. */
  loses?: boolean;
  run(kind: UploadKind, gpu: Gpu): Promise<void>;
};

const create = { mapped: createMappedUpload, write: createWriteUpload };
const pieceBytes = 65_536;
const targetBytes = 300_000;
const storage = () => GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;

export const uploadCases: UploadCase[] = [
  {
    name: 'bytes arrive exactly, at every multiple of 4, and none around them change',
    async run(kind, gpu) {
      await withPath(kind, gpu, { buffers: 3 }, async (path, target) => {
        const expected = new Uint8Array(target.size);
        const rows: [at: number, bytes: number][] = [
          [0, 4],
          [4, 12],
          [20, pieceBytes],
          [20 + pieceBytes + 8, pieceBytes - 4],
          [200_004, 0],
          [200_008, 1_236],
          [target.size - 4, 4],
        ];
        const uploads = rows.map(([at, bytes], seed) => {
          const data = pattern(bytes, seed + 1);
          expected.set(data, at);
          return path.upload(target, at, bytes, filling(data, seed % 2 === 1));
        });
        await Promise.all(uploads);
        sameBytes(await bytesOf(gpu, target), expected, 'target');
      });
    },
  },
  {
    name: 'overlapping uploads that fill in any order land in the order of their turns',
    async run(kind, gpu) {
      await withPath(kind, gpu, { buffers: 4 }, async (path, target) => {
        const expected = new Uint8Array(target.size);
        const next = random(7);
        let turn = Promise.resolve();
        const uploads = [];
        for (let n = 0; n < 60; n++) {
          const bytes = 4 * (1 + Math.floor((next() * pieceBytes) / 4.01));
          const at = 4 * Math.floor((next() * (target.size - bytes)) / 4);
          const data = pattern(bytes, n);
          expected.set(data, at);
          const delay = next() * 4;
          const upload = path.upload(target, at, bytes, (into) => later(delay).then(() => into.set(data)), { turn });
          turn = upload;
          uploads.push(upload);
        }
        await Promise.all(uploads);
        sameBytes(await bytesOf(gpu, target), expected, 'target');
      });
    },
  },
  {
    name: 'work submitted before an upload sees the old bytes, work submitted after it the new ones',
    async run(kind, gpu) {
      await withPath(kind, gpu, { buffers: 2 }, async (path, target) => {
        const slowCopy = await slowCopier(gpu);
        const [before, after] = [
          gpu.memory.create('before', pieceBytes, storage()),
          gpu.memory.create('after', pieceBytes, storage()),
        ];
        const [old, fresh] = [pattern(pieceBytes, 1), pattern(pieceBytes, 2)];
        await path.upload(target, 0, pieceBytes, (into) => into.set(old));
        let submitted = false;
        let submit: (() => void) | undefined;
        const turn = new Promise<void>((resolve) => {
          submit = () => {
            slowCopy(target, before);
            submitted = true;
            resolve();
          };
        });
        let filledFirst = false;
        const fill = (into: Uint8Array) => {
          into.set(fresh);
          filledFirst = !submitted;
        };
        const upload = path.upload(target, 0, pieceBytes, fill, { turn });
        await later(30);
        submit!();
        await upload;
        slowCopy(target, after);
        same(filledFirst, true, 'fill came before its turn');
        sameBytes(await bytesOf(gpu, before), old, 'read before the upload');
        sameBytes(await bytesOf(gpu, after), fresh, 'read after the upload');
        for (const buffer of [before, after]) gpu.memory.destroy(buffer);
      });
    },
  },
  {
    name: 'what is recorded after a copy sees its bytes, however many uploads share the target',
    async run(kind, gpu) {
      await withPath(kind, gpu, { buffers: 4 }, async (path, shared) => {
        const bytes = 4_096;
        const kept = gpu.memory.create('kept', 60 * bytes, storage());
        const expected = new Uint8Array(kept.size);
        const next = random(5);
        const uploads = Array.from({ length: 60 }, (_, n) => {
          const data = pattern(bytes, n);
          expected.set(data, n * bytes);
          const delay = next() * 4;
          const after = (encoder: GPUCommandEncoder) => encoder.copyBufferToBuffer(shared, 8, kept, n * bytes, bytes);
          return path.upload(shared, 8, bytes, (into) => later(delay).then(() => into.set(data)), { after });
        });
        await Promise.all(uploads);
        sameBytes(await bytesOf(gpu, kept), expected, 'kept');
        gpu.memory.destroy(kept);
      });
    },
  },
  {
    name: 'what is written through the queue while recording comes before the copy and the commands',
    async run(kind, gpu) {
      await withPath(kind, gpu, { buffers: 2 }, async (path, target) => {
        const kept = gpu.memory.create('kept', 128, storage());
        const [fresh, first, second] = [pattern(64, 1), pattern(64, 2), pattern(64, 3)];
        for (const [n, written] of [first, second].entries()) {
          const after = (encoder: GPUCommandEncoder) => {
            gpu.device.queue.writeBuffer(target, 0, written as Uint8Array<ArrayBuffer>);
            encoder.copyBufferToBuffer(target, 0, kept, 64 * n, 64);
          };
          await path.upload(target, 16, 16, (into) => into.set(fresh.subarray(0, 16)), { after });
        }
        const want = new Uint8Array(128);
        for (const [n, written] of [first, second].entries()) {
          want.set(written, 64 * n);
          want.set(fresh.subarray(0, 16), 64 * n + 16);
        }
        sameBytes(await bytesOf(gpu, kept), want, 'kept');
        gpu.memory.destroy(kept);
      });
    },
  },
  {
    name: '500 uploads: never more fills at once than buffers, and not one GPU buffer or counted byte more',
    async run(kind, gpu) {
      const buffers = 3;
      await withPath(kind, gpu, { buffers }, async (path, target) => {
        const bytes = gpu.memory.bytes;
        const peak = gpu.memory.peakBytes;
        const { createBuffer } = gpu.device;
        let created = 0;
        gpu.device.createBuffer = (descriptor: GPUBufferDescriptor) => {
          created++;
          return createBuffer.call(gpu.device, descriptor);
        };
        let filling = 0;
        let most = 0;
        const fill = async (into: Uint8Array) => {
          most = Math.max(most, ++filling);
          same(gpu.memory.bytes, bytes, 'counted bytes during an upload');
          await Promise.resolve();
          into.fill(1);
          filling--;
        };
        try {
          await Promise.all(Array.from({ length: 500 }, (_, n) => path.upload(target, (n % 64) * 4_096, 4_096, fill)));
          await path.idle();
        } finally {
          gpu.device.createBuffer = createBuffer;
        }
        same(most <= buffers && most > 1, true, `fills at once (${most}) between 2 and ${buffers}`);
        same(created, 0, 'buffers created');
        same(gpu.memory.bytes, bytes, 'counted bytes');
        same(gpu.memory.peakBytes, peak, 'peak bytes');
      });
    },
  },
  {
    name: 'after idle every buffer is free: as many fills start without the GPU',
    async run(kind, gpu) {
      await withPath(kind, gpu, { buffers: 4 }, async (path, target) => {
        await Promise.all(Array.from({ length: 9 }, () => path.upload(target, 0, pieceBytes, (into) => void into.fill(3))));
        await path.idle();
        await allBuffersFree(path, target, 4);
        const gates = [new Gate(), new Gate()];
        const held = gates.map((gate) => path.upload(target, 0, 4, () => gate.opens));
        await later(5);
        let idle = false;
        const resting = path.idle().then(() => {
          idle = true;
        });
        for (const [n, gate] of gates.entries()) {
          same(idle, false, `idle with ${gates.length - n} fills open`);
          gate.open();
          await held[n];
          await later(50);
        }
        await resting;
      });
    },
  },
  {
    name: 'synchronous fills one after the other let the event loop run',
    async run(kind, gpu) {
      await withPath(kind, gpu, { buffers: 16 }, async (path, target) => {
        await path.idle();
        const { port1, port2 } = new MessageChannel();
        let ticks = 0;
        port1.onmessage = () => {
          ticks++;
          port2.postMessage(0);
        };
        port2.postMessage(0);
        let fills = 0;
        let most = 0;
        let seen = ticks;
        for (let n = 0; n < 16; n++) {
          await path.upload(target, 0, 64, () => {
            fills = ticks === seen ? fills + 1 : 1;
            seen = ticks;
            most = Math.max(most, fills);
            const end = performance.now() + 2;
            while (performance.now() < end);
          });
        }
        port1.close();
        same(most <= 4, true, `fills of 2 ms without a turn of the event loop (${most}) at most 4`);
      });
    },
  },
  {
    name: 'abort while waiting for a buffer, in fill and in turn: AbortError, and the buffer is free again',
    async run(kind, gpu) {
      await withPath(kind, gpu, { buffers: 2 }, async (path, target) => {
        const { signal: aborted } = aborting(0);
        await rejects(path.upload(target, 0, 4, neverFills, { signal: aborted }), isAbort, 'aborted before');
        const gate = new Gate();
        const holders = [0, 1].map(() => path.upload(target, 0, 4, () => gate.opens));
        await later(5);
        await rejects(path.upload(target, 0, 4, neverFills, { signal: aborting(5).signal }), isAbort, 'waiting for a buffer');
        gate.open();
        await Promise.all(holders);
        const [inFill, inTurn] = [new AbortController(), new AbortController()];
        let ended = false;
        const slow = async (into: Uint8Array) => {
          inFill.abort();
          await later(30);
          into.fill(9);
          ended = true;
        };
        await rejects(path.upload(target, 0, 4, slow, { signal: inFill.signal }), isAbort, 'in fill');
        same(ended, true, 'fill had ended when the upload rejected');
        const fill = () => void later(5).then(() => inTurn.abort());
        const turn = new Promise<void>(() => {});
        await rejects(path.upload(target, 0, 4, fill, { signal: inTurn.signal, turn }), isAbort, 'in turn');
        await allBuffersFree(path, target, 2);
      });
    },
  },
  {
    name: 'what fill, turn or after throws comes back as it is, nothing is copied, and the buffer is free again',
    async run(kind, gpu) {
      await withPath(kind, gpu, { buffers: 2 }, async (path, target) => {
        const before = await bytesOf(gpu, target);
        const mine = new Error('mine');
        const is = (error: unknown) => error === mine;
        const fails: [why: string, fill: (into: Uint8Array) => void | Promise<void>, turn?: () => Promise<void>][] = [
          [
            'fill throws',
            (into) => {
              into.fill(0xee);
              throw mine;
            },
          ],
          ['fill rejects', (into) => later(1).then(() => Promise.reject(into.fill(0xee) && mine))],
          ['turn rejects', (into) => void into.fill(0xee), () => later(3).then(() => Promise.reject(mine))],
          ['both', () => Promise.reject(mine), () => later(3).then(() => Promise.reject(new Error('later')))],
        ];
        const after = () => {
          throw mine;
        };
        for (let round = 0; round < 3; round++) {
          for (const [why, fill, turn] of fails) await rejects(path.upload(target, 0, 64, fill, { turn: turn?.() }), is, why);
          await rejects(
            path.upload(target, 0, 64, (into) => void into.fill(0xee), { after }),
            is,
            'after throws',
          );
        }
        await later(5);
        sameBytes(await bytesOf(gpu, target), before, 'target');
        await allBuffersFree(path, target, 2);
      });
    },
  },
  {
    name: 'sizes that cannot be are refused before anything waits',
    async run(kind, gpu) {
      await withPath(kind, gpu, { buffers: 1 }, async (path, target) => {
        for (const [at, bytes] of [
          [2, 4],
          [0, 6],
          [0, -4],
          [0, Number.NaN],
          [0, pieceBytes + 4],
        ] as const) {
          await rejects(path.upload(target, at, bytes, neverFills), hasCode('shape'), `${bytes} bytes at ${at}`);
        }
        await allBuffersFree(path, target, 1);
      });
    },
  },
  {
    name: 'destroy rejects what is not queued yet, keeps what is, and gives the memory back',
    async run(kind, gpu) {
      const start = gpu.memory.bytes;
      const target = gpu.memory.create('target', targetBytes, storage());
      const path = create[kind](gpu, { pieceBytes, buffers: 2 });
      const data = pattern(pieceBytes, 5);
      await path.upload(target, 4, pieceBytes, (into) => into.set(data));
      const gate = new Gate();
      const pending = [
        path.upload(target, 0, 4, () => gate.opens),
        path.upload(target, 0, 4, () => {}, { turn: new Promise<void>(() => {}) }),
        path.upload(target, 0, 4, neverFills),
        path.idle(),
      ].map((each, n) => rejects(each, isAbort, `pending ${n}`));
      await later(20);
      path.destroy();
      path.destroy();
      same(gpu.memory.bytes, start + target.size, 'counted bytes after destroy');
      gate.open();
      await within(Promise.all(pending), 'the pending uploads');
      await rejects(path.upload(target, 0, 4, neverFills), isAbort, 'an upload after destroy');
      await rejects(path.idle(), isAbort, 'idle after destroy');
      sameBytes((await bytesOf(gpu, target)).subarray(4, 4 + pieceBytes), data, 'what was queued before');
      gpu.memory.destroy(target);
    },
  },
  {
    name: 'a device lost in mid-upload is an error everywhere, and nothing hangs',
    loses: true,
    async run(kind, gpu) {
      const target = gpu.memory.create('target', targetBytes, storage());
      const path = create[kind](gpu, { pieceBytes, buffers: 2 });
      const gate = new Gate();
      const pending = [
        path.upload(target, 0, 4, () => gate.opens),
        path.upload(target, 0, 4, () => {}, { turn: new Promise<void>(() => {}) }),
        path.upload(target, 0, 4, neverFills),
        path.idle(),
      ].map((each, n) => rejects(each, hasCode('device-lost'), `pending ${n}`));
      await later(20);
      gpu.device.destroy();
      await gpu.device.lost;
      gate.open();
      await within(Promise.all(pending), 'the pending uploads');
      await rejects(path.upload(target, 0, 4, neverFills), hasCode('device-lost'), 'an upload after the loss');
      await rejects(path.idle(), hasCode('device-lost'), 'idle after the loss');
      path.destroy();
    },
  },
  {
    name: 'a device lost in mid-fill, before anybody has said so: an upload that could not be filled blames the device',
    loses: true,
    async run(kind, gpu) {
      const target = gpu.memory.create('target', targetBytes, storage());
      const path = create[kind](gpu, { pieceBytes, buffers: 1 });
      let detached = false;
      const upload = path.upload(target, 0, 4, (into) => {
        gpu.device.destroy();
        detached = into.byteLength === 0; // a mapped range goes at once, by the specification; an array of ours stays
        if (detached) into.set([1, 2, 3, 4]);
      });
      const outcome = await within(
        upload.catch((error: unknown) => error),
        'the upload',
      );
      if (detached) same(outcome instanceof RangeError, false, 'the error is the one of writing to a detached array');
      if (detached || outcome !== undefined) same(hasCode('device-lost')(outcome), true, `${outcome} is 'device-lost'`);
      await gpu.device.lost; // Firefox answers onSubmittedWorkDone before that
      await rejects(path.idle(), hasCode('device-lost'), 'idle after the loss');
    },
  },
  {
    name: 'a device lost while copies are under way is an error for those who wait for them',
    loses: true,
    async run(kind, gpu) {
      const target = gpu.memory.create('target', targetBytes, storage());
      const path = create[kind](gpu, { pieceBytes, buffers: 2 });
      await path.idle();
      const uploads = Array.from({ length: 40 }, () => path.upload(target, 0, pieceBytes, (into) => void into.fill(1)));
      void uploads[0]!.then(() => gpu.device.destroy());
      const results = await within(Promise.allSettled([...uploads, path.idle()]), 'the uploads');
      const errors = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []));
      same(errors.length > 30, true, `most of 40 uploads fail (${errors.length})`);
      for (const error of errors) same(hasCode('device-lost')(error), true, `${error} is 'device-lost'`);
    },
  },
  {
    name: 'a choice by measurement leaves one path that works and nothing else, within the memory it may take',
    async run(kind, gpu) {
      const start = gpu.memory.bytes;
      const options = { pieceBytes: 1 << 20, buffers: 3, scratchBytes: 2 << 20 };
      // A CPU adapter is not measured; this one is made to look like a GPU, since the code is the same.
      const as = kind === 'write' ? { ...gpu, adapter: { ...gpu.adapter, isCpu: false } } : gpu;
      const most = start + stagingBytes('mapped', options) + (as.adapter.isCpu ? 0 : options.scratchBytes);
      gpu.memory.limit(most);
      try {
        const begin = performance.now();
        const { path, bytesPerSecond } = await chooseUpload(as, options);
        const took = performance.now() - begin;
        const { mapped, write } = bytesPerSecond;
        console.log(`chose ${path.kind} in ${took.toFixed(0)} ms: mapped ${mega(mapped)}, write ${mega(write)} MB/s`);
        if (as.adapter.isCpu) same(path.kind, 'mapped', 'the choice on a CPU adapter');
        else same(path.kind, mapped >= write ? 'mapped' : 'write', 'the choice');
        same(mapped > 0 && write > 0, !as.adapter.isCpu, 'speeds were measured');
        same(gpu.memory.bytes, start + stagingBytes(path.kind, options), 'counted bytes');
        path.destroy();
        const stopped = aborting(0).signal;
        if (!as.adapter.isCpu) await rejects(chooseUpload(as, { ...options, signal: stopped }), isAbort, 'an aborted choice');
        same(gpu.memory.bytes, start, 'counted bytes at the end');
        gpu.memory.limit(start + stagingBytes('mapped', options) - 16);
        await rejects(chooseUpload(as, options), hasCode('budget'), 'a choice without room');
        same(gpu.memory.bytes, start, 'counted bytes after a refusal');
      } finally {
        gpu.memory.limit(undefined);
      }
    },
  },
];

async function withPath(
  kind: UploadKind,
  gpu: Gpu,
  options: { buffers: number },
  use: (path: UploadPath, target: GPUBuffer) => Promise<void>,
): Promise<void> {
  const start = gpu.memory.bytes;
  const path = create[kind](gpu, { pieceBytes, ...options });
  same(gpu.memory.bytes - start, stagingBytes(kind, { pieceBytes, ...options }), 'staging bytes as announced');
  const target = gpu.memory.create('target', targetBytes, storage());
  try {
    await within(use(path, target), 'the case');
  } finally {
    path.destroy();
    gpu.memory.destroy(target);
  }
  same(gpu.memory.bytes, start, 'counted bytes at the end');
}

/** All buffers can be filled at the same time, so none was lost; each holds its fill until all have begun. */
async function allBuffersFree(path: UploadPath, target: GPUBuffer, buffers: number): Promise<void> {
  const gate = new Gate();
  let begun = 0;
  const fill = () => {
    if (++begun === buffers) gate.open();
    return gate.opens;
  };
  await within(Promise.all(Array.from({ length: buffers }, () => path.upload(target, 0, 4, fill))), `${buffers} fills at once`);
}
