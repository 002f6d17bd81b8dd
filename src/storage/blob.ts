import { EngineError, throwIfAborted } from '../errors';
import type { ByteSource } from './byte_source';
import { checkOpen, checkRange, shortRead } from './range';

/** A slice becomes an ArrayBuffer before it is copied: this bounds that second copy. */
const PIECE_BYTES = 8 << 20;

/** A Blob, or a File that the user picked. The model is not copied; the browser reads the ranges from disk. */
export function blobSource(blob: Blob, label = blob instanceof File ? blob.name : 'blob'): ByteSource {
  let closed = false;
  const source: ByteSource = {
    label,
    size: blob.size,
    mark: blob instanceof File ? `${blob.lastModified}` : undefined,
    async read(byteOffset, into, signal) {
      throwIfAborted(signal);
      checkOpen(label, closed);
      checkRange(source, byteOffset, into.byteLength);
      for (let done = 0; done < into.byteLength; ) {
        const start = byteOffset + done;
        const length = Math.min(PIECE_BYTES, into.byteLength - done);
        const piece = await readPiece(blob.slice(start, start + length), label);
        throwIfAborted(signal);
        if (piece.byteLength !== length) throw shortRead(label, start, length, piece.byteLength);
        into.set(piece, done);
        done += length;
      }
    },
    close() {
      closed = true;
    },
  };
  return source;
}

async function readPiece(slice: Blob, label: string): Promise<Uint8Array> {
  try {
    return new Uint8Array(await slice.arrayBuffer());
  } catch (cause) {
    // NotReadableError: a File is a snapshot, and is void once the file on disk changes, moves or loses its permission.
    throw new EngineError('storage', `${label} can no longer be read; it may have changed or moved. Choose it again.`, { cause });
  }
}
