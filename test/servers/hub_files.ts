/** What the hub serves: bytes in memory, bytes made when they are asked for, files on disk. */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync, statSync } from 'node:fs';

export type LazyFile = {
  /** Length in bytes. */
  size: number;
  /** Bytes [offset, offset + length); the caller may keep and overwrite them. */
  read(offset: number, length: number): Uint8Array | Promise<Uint8Array>;
  /** Where it is known; else it is computed when the listing is asked for. */
  sha256?: string;
};

export type FileContent = Uint8Array | LazyFile;

const HASH_PIECE_BYTES = 4 << 20;

/** A file on disk, opened anew for each read, so that nothing stays open. */
export function fileContent(path: string): LazyFile {
  return {
    size: statSync(path).size,
    read(offset, length) {
      const file = openSync(path, 'r');
      try {
        const bytes = Buffer.allocUnsafe(length);
        const count = readSync(file, bytes, 0, length, offset);
        if (count !== length) throw new Error(`${path}: ${count} of ${length} bytes at ${offset}`);
        return bytes;
      } finally {
        closeSync(file);
      }
    },
  };
}

export function sizeOf(content: FileContent): number {
  return content instanceof Uint8Array ? content.byteLength : content.size;
}

export function readContent(content: FileContent, offset: number, length: number): Uint8Array | Promise<Uint8Array> {
  return content instanceof Uint8Array ? content.subarray(offset, offset + length) : content.read(offset, length);
}

const hashes = new WeakMap<FileContent, Promise<string>>();

/** Computed once per content, in pieces between which other requests are answered. */
export function sha256Of(content: FileContent): Promise<string> {
  const known = hashes.get(content) ?? computeSha256(content);
  hashes.set(content, known);
  return known;
}

async function computeSha256(content: FileContent): Promise<string> {
  if (!(content instanceof Uint8Array) && content.sha256 !== undefined) return content.sha256;
  const hash = createHash('sha256');
  const size = sizeOf(content);
  for (let at = 0; at < size; at += HASH_PIECE_BYTES) {
    hash.update(await readContent(content, at, Math.min(HASH_PIECE_BYTES, size - at)));
    await new Promise((resolve) => setImmediate(resolve));
  }
  return hash.digest('hex');
}
