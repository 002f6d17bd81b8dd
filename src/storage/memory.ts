import { throwIfAborted } from '../errors';
import type { ByteSource } from './byte_source';
import { checkOpen, checkRange } from './range';

/** Bytes already in memory. `bytes` is not copied and must not change. */
export function memorySource(bytes: Uint8Array, label = 'memory'): ByteSource {
  let held: Uint8Array | undefined = bytes;
  const source: ByteSource = {
    label,
    size: bytes.byteLength,
    async read(byteOffset, into, signal) {
      throwIfAborted(signal);
      checkOpen(label, held === undefined);
      checkRange(source, byteOffset, into.byteLength);
      into.set(held!.subarray(byteOffset, byteOffset + into.byteLength));
    },
    close() {
      held = undefined;
    },
  };
  return source;
}
