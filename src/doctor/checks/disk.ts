/** The private file system as the engine uses it: a synchronous handle, in a worker. Every count that the browser gives is checked. */
import { figure } from '../../bench/report';
import type { StoreDirectory, StoreFile } from '../../storage/store/directory';
import { bytesText, type Context, type ExamOptions, gib, mib, type Outcome, storageEstimate } from '../context';
import { ownFolder } from '../folder';
import type { DiskFacts } from '../report';

const piece = 4 * mib;
const randomPiece = 2 * mib;
const fileName = 'probe';
/** Writing ends with the portion after which this has passed: a slow disk says enough about itself by then. */
const mostWriteMs = 10_000;
const portion = 64 * mib;
const mostRandomReads = 128;

export async function checkDisk({ gpu: open, options, say }: Context): Promise<Outcome<DiskFacts>> {
  const isCpu = await open().then(
    ({ adapter }) => adapter.isCpu,
    () => false, // a disk needs no GPU
  );
  const { quota, usage } = await storageEstimate();
  const free = quota === undefined ? Number.POSITIVE_INFINITY : Math.max(0, quota - (usage ?? 0));
  const { bytes, why } = fileSize(options, { isCpu, free });
  const rates = { writeGBps: 0, randomGBps: 0, readGBps: 0, warmRandomGBps: 0 };
  const none = { bytes: 0, size: why, ...rates, flushMs: 0, sharedHandles: false };
  if (bytes === 0)
    return { status: 'noted', summary: `The browser grants ${bytesText(free)} only: too little for a model.`, facts: none };
  const directory = await ownFolder().catch(() => undefined);
  if (!directory)
    return { status: 'skipped', summary: 'The browser keeps no files for this site here: a private window?', facts: none };
  try {
    const facts = await measure(directory, { bytes, why }, say);
    const summary = `${figure(facts.writeGBps)} GB/s written, ${figure(facts.readGBps)} GB/s read, ${figure(facts.randomGBps)} GB/s at random, ${bytesText(facts.bytes)} (${facts.size}).`;
    return { status: 'passed', summary, facts };
  } finally {
    await directory.remove(fileName);
  }
}

type FileSize = { bytes: number; why: string };

/** Whole pieces; half of what the browser grants at most. */
export function fileSize(
  { diskBytes, handheld }: Pick<ExamOptions, 'diskBytes' | 'handheld'>,
  { isCpu, free }: { isCpu: boolean; free: number },
): FileSize {
  const [wanted, why] =
    diskBytes !== undefined
      ? [diskBytes, 'as asked']
      : isCpu
        ? [16 * mib, 'small, beside a software adapter']
        : handheld
          ? [256 * mib, 'small, for a phone or tablet']
          : [gib, 'the usual size'];
  const bytes = Math.floor(Math.min(wanted, free / 2) / piece) * piece;
  return { bytes, why: free / 2 < wanted ? 'half of what the browser grants' : why };
}

/** The random places come first: what follows has all of the file read before. */
async function measure(directory: StoreDirectory, asked: FileSize, say: Context['say']): Promise<DiskFacts> {
  const total = 5;
  const file = await directory.open(fileName, { create: true });
  const sharedHandles = await opensTwice(directory);
  try {
    const { bytes, writeMs } = await write(file, asked.bytes, (share) => say({ done: share, total, step: 'writing' }));
    const flushMs = timed(() => file.flush());
    await say({ done: 2, total, step: 'reading at random' });
    const randomMs = randomReads(file, bytes);
    await say({ done: 3, total, step: 'reading' });
    const readMs = sequentialReads(file, bytes);
    await say({ done: 4, total, step: 'reading at random again' });
    const warmMs = randomReads(file, bytes);
    const rate = (length: number, ms: number) => length / Math.max(ms, 0.001) / 1e6;
    return {
      ...{
        bytes,
        size: bytes < asked.bytes ? `as far as it came in ${mostWriteMs / 1000} s` : asked.why,
        flushMs,
        sharedHandles,
      },
      writeGBps: rate(bytes, writeMs + flushMs),
      randomGBps: rate(randomPiece, randomMs),
      readGBps: rate(bytes, readMs),
      warmRandomGBps: rate(randomPiece, warmMs),
    };
  } finally {
    file.close();
  }
}

/** Portion by portion, so that the page can tell how far it is. `say`: what part is written. */
async function write(file: StoreFile, wanted: number, say: (share: number) => Promise<void>) {
  const block = new Uint8Array(piece);
  let bytes = 0;
  let writeMs = 0;
  while (bytes < wanted && (bytes === 0 || writeMs < mostWriteMs)) {
    await say(bytes / wanted);
    const end = Math.min(wanted, bytes + portion);
    writeMs += timed(() => {
      for (; bytes < end; bytes += piece) exact(file.write(stamped(block, bytes), { at: bytes }), piece, 'written');
    });
  }
  return { bytes, writeMs };
}

/** Milliseconds for all of it. */
function sequentialReads(file: StoreFile, bytes: number): number {
  const block = new Uint8Array(piece);
  return timed(() => {
    for (let at = 0; at < bytes; at += piece) {
      exact(file.read(block, { at }), piece, 'read');
      requireStamp(block, at);
    }
  });
}

/** Milliseconds of one read, of many together, since some browsers' clocks are coarser than a read is long. No place comes twice. */
function randomReads(file: StoreFile, bytes: number): number {
  const block = new Uint8Array(randomPiece);
  const places = bytes / randomPiece;
  const count = Math.min(mostRandomReads, places);
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
