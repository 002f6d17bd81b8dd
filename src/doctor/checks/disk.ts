/** The private file system as the engine uses it: a synchronous handle, in a worker. Every count that the browser gives is checked. */
import { figure } from '../../bench/report';
import type { StoreDirectory, StoreFile } from '../../storage/store/directory';
import { bytesText, type Context, mib, type Outcome, storageEstimate } from '../context';
import { ownFolder } from '../folder';
import type { DiskFacts } from '../report';

const piece = 4 * mib;
const randomPiece = 2 * mib;
const fileName = 'probe';

export async function checkDisk({ gpu: open, options, say }: Context): Promise<Outcome<DiskFacts>> {
  const isCpu = await open().then(
    ({ adapter }) => adapter.isCpu,
    () => false, // a disk needs no GPU
  );
  const wanted = options.diskBytes ?? (isCpu ? 16 : 256) * mib;
  const { quota, usage } = await storageEstimate();
  const free = quota === undefined ? wanted : Math.max(0, quota - (usage ?? 0));
  const bytes = Math.floor(Math.min(wanted, free / 2) / piece) * piece;
  const none = { bytes: 0, writeGBps: 0, readGBps: 0, randomGBps: 0, flushMs: 0, sharedHandles: false };
  if (bytes === 0)
    return { status: 'noted', summary: `The browser grants ${bytesText(free)} only: too little for a model.`, facts: none };
  const directory = await ownFolder().catch(() => undefined);
  if (!directory)
    return { status: 'skipped', summary: 'The browser keeps no files for this site here: a private window?', facts: none };
  try {
    const facts = await measure(directory, bytes, say);
    const summary = `${figure(facts.writeGBps)} GB/s written, ${figure(facts.readGBps)} GB/s read, ${figure(facts.randomGBps)} GB/s at random, ${bytesText(bytes)}.`;
    return { status: 'passed', summary, facts };
  } finally {
    await directory.remove(fileName);
  }
}

async function measure(directory: StoreDirectory, bytes: number, say: Context['say']): Promise<DiskFacts> {
  const total = 4;
  await say({ done: 0, total, step: 'writing' });
  const file = await directory.open(fileName, { create: true });
  const block = new Uint8Array(piece);
  const sharedHandles = await opensTwice(directory);
  try {
    const writeMs = timed(() => each(bytes, piece, (at) => exact(file.write(stamped(block, at), { at }), piece, 'written')));
    const flushMs = timed(() => file.flush());
    await say({ done: 2, total, step: 'reading' });
    const readMs = timed(() =>
      each(bytes, piece, (at) => {
        exact(file.read(block, { at }), piece, 'read');
        requireStamp(block, at);
      }),
    );
    await say({ done: 3, total, step: 'reading at random' });
    const randomMs = randomReads(file, bytes);
    const rate = (ms: number) => bytes / Math.max(ms, 0.001) / 1e6;
    return {
      ...{ bytes, flushMs, sharedHandles },
      writeGBps: rate(writeMs + flushMs),
      readGBps: rate(readMs),
      randomGBps: randomPiece / Math.max(randomMs, 0.001) / 1e6,
    };
  } finally {
    file.close();
  }
}

/** Milliseconds of one read, of many together: some browsers' clocks are coarser than a read is long. */
function randomReads(file: StoreFile, bytes: number): number {
  const block = new Uint8Array(randomPiece);
  const places = bytes / randomPiece;
  const count = Math.min(128, 4 * places);
  const ms = timed(() => {
    for (let i = 0; i < count; i++) exact(file.read(block, { at: ((i * 7919) % places) * randomPiece }), randomPiece, 'read');
  });
  return ms / count;
}

/** Chrome alone has the mode, and others ignore what they do not know, so only a second handle tells. */
async function opensTwice(directory: StoreDirectory): Promise<boolean> {
  try {
    (await directory.open(fileName)).close();
    return true;
  } catch {
    return false;
  }
}

function timed(work: () => void): number {
  const started = performance.now();
  work();
  return performance.now() - started;
}

function each(bytes: number, step: number, work: (at: number) => void): void {
  for (let at = 0; at < bytes; at += step) work(at);
}

/** Browsers have returned short counts, and -8 as an unsigned number, where a disk was full. */
function exact(count: number, wanted: number, what: string): void {
  if (count !== wanted) throw new Error(`${count} of ${wanted} bytes were ${what}: the disk may be full.`);
}

/** Its place in the first and last word, so that a block in another one's place shows. */
function stamped(block: Uint8Array<ArrayBuffer>, at: number): Uint8Array<ArrayBuffer> {
  const view = new DataView(block.buffer);
  view.setUint32(0, at / piece + 1, true);
  view.setUint32(block.byteLength - 4, at / piece + 1, true);
  return block;
}

function requireStamp(block: Uint8Array<ArrayBuffer>, at: number): void {
  const view = new DataView(block.buffer);
  for (const place of [0, block.byteLength - 4]) {
    if (view.getUint32(place, true) !== at / piece + 1)
      throw new Error(`what was written at byte ${at} is not what is read there`);
  }
}
