/** What every ByteSource checks before and after a read, in the same words. */
import { EngineError } from '../errors';

/** @throws EngineError 'storage' unless [byteOffset, byteOffset + length) lies within `source`. */
export function checkRange(source: { label: string; size: number }, byteOffset: number, length: number): void {
  if (Number.isInteger(byteOffset) && byteOffset >= 0 && byteOffset + length <= source.size) return;
  throw new EngineError(
    'storage',
    `${source.label}: bytes [${byteOffset}, ${byteOffset + length}) were asked for, but it has ${source.size} bytes.`,
  );
}

/** The bytes that were promised did not come: never zeros in their place. */
export function shortRead(label: string, byteOffset: number, wanted: number, got: number): EngineError {
  return new EngineError(
    'storage',
    `${label}: ${got} of ${wanted} bytes came from offset ${byteOffset}. The file was cut off or changed while it was read.`,
  );
}

export function checkOpen(label: string, closed: boolean): void {
  if (closed) throw new EngineError('storage', `${label} was read after it was closed.`);
}
