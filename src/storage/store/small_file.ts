/** Small files, whole: written through a handle that is closed at once, read through a snapshot that needs none. */
import { EngineError } from '../../errors';
import { isHeldElsewhere, isNotFound, type StoreDirectory, type StoreFile, storageError } from './directory';
import type { Xxh64 } from './hash';
import { giveWay, pauseMs } from './turns';

/** A write call never carries more, so that none keeps the thread long. */
const PIECE_BYTES = 1 << 20;
/** A handle of a tab that just ended can outlive it by moments. */
const OPEN_PAUSES_MS = [20, 50, 100, 200, 400, 800, 1600];

/**
 * Writes all of `bytes` at `byteOffset`. @throws EngineError 'storage' where the disk is full: browsers throw, write less, or count
 * below zero (Chrome 150: 4294967288).
 */
export async function writeAll(file: StoreFile, name: string, bytes: Uint8Array, byteOffset: number): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) {
    await giveWay();
    const piece = bytes.subarray(done, done + PIECE_BYTES);
    done += writePiece(file, name, piece, byteOffset + done);
  }
}

/** One call; at least one byte is written. */
export function writePiece(file: StoreFile, name: string, bytes: Uint8Array, byteOffset: number): number {
  let count: number;
  try {
    count = file.write(bytes, { at: byteOffset });
  } catch (cause) {
    if ((cause as { name?: unknown } | undefined)?.name === 'QuotaExceededError') throw diskFull(name, cause);
    throw storageError(name, cause);
  }
  if (!(count > 0 && count <= bytes.byteLength)) throw diskFull(name);
  return count;
}

export class DiskFull extends EngineError {}

function diskFull(name: string, cause?: unknown): DiskFull {
  return new DiskFull('storage', `${name} could not be written: the disk, or the browser's share of it, is full.`, { cause });
}

export async function writeSmallFile(directory: StoreDirectory, name: string, bytes: Uint8Array): Promise<void> {
  const file = await openPatiently(directory, name, { create: true });
  try {
    file.truncate(0);
    await writeAll(file, name, bytes, 0);
    file.flush();
    if (file.getSize() !== bytes.byteLength) throw diskFull(name);
  } finally {
    file.close();
  }
}

export async function readSmallFile(directory: StoreDirectory, name: string): Promise<Uint8Array | undefined> {
  try {
    const source = await directory.snapshot(name);
    const bytes = new Uint8Array(source.size);
    await source.read(0, bytes);
    source.close();
    return bytes;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/** Opens, again after each pause while somebody else has it open. */
export async function openPatiently(
  directory: StoreDirectory,
  name: string,
  options: { create?: boolean },
  pauses: readonly number[] = OPEN_PAUSES_MS,
): Promise<StoreFile> {
  for (const pause of pauses) {
    try {
      return await directory.open(name, options);
    } catch (error) {
      if (!isHeldElsewhere(error)) throw error;
      await pauseMs(pause * (0.75 + Math.random() / 2));
    }
  }
  return directory.open(name, options);
}

/** JSON with a hash behind it, so that a file that a crash cut off is known for what it is. */
export function checkedJson(value: unknown, hash: Xxh64): Uint8Array {
  const json = JSON.stringify(value);
  return new TextEncoder().encode(`${json}\n${hash.of([new TextEncoder().encode(json)])}\n`);
}

/** undefined where it is not whole. */
export function readCheckedJson(bytes: Uint8Array | undefined, hash: Xxh64): unknown {
  if (!bytes) return undefined;
  const [json, digest, rest] = new TextDecoder().decode(bytes).split('\n');
  if (json === undefined || rest !== '' || digest !== hash.of([new TextEncoder().encode(json)])) return undefined;
  return JSON.parse(json);
}
