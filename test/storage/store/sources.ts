/** Sources that count what is asked of them, and can be slow, break or change. */
import { type EngineError, throwIfAborted } from '../../../src/errors';
import type { ByteSource } from '../../../src/storage/byte_source';
import { memorySource } from '../../../src/storage/memory';

export type SourceLog = {
  sources: Map<string, ByteSource>;
  reads: { file: string; byteOffset: number; byteLength: number }[];
  inFlight: number;
  mostInFlight: number;
  fetchedBytes: number;
};

export type SourceOptions = {
  delayMs?: number | (() => number);
  /** Thrown in place of the bytes, per read (counted from 1). */
  fail?: (count: number) => EngineError | undefined;
};

export function loggedSources(originals: Map<string, Uint8Array>, { delayMs = 0, fail }: SourceOptions = {}): SourceLog {
  const log: SourceLog = { sources: new Map(), reads: [], inFlight: 0, mostInFlight: 0, fetchedBytes: 0 };
  for (const [file, bytes] of originals) {
    const memory = memorySource(bytes, file);
    log.sources.set(file, {
      ...memory,
      async read(byteOffset, into, signal) {
        log.reads.push({ file, byteOffset, byteLength: into.byteLength });
        log.mostInFlight = Math.max(log.mostInFlight, ++log.inFlight);
        try {
          const count = log.reads.length;
          const delay = typeof delayMs === 'function' ? delayMs() : delayMs;
          if (delay > 0) await new Promise((resolve) => setTimeout(resolve, delay));
          throwIfAborted(signal);
          const failure = fail?.(count);
          if (failure) throw failure;
          await memory.read(byteOffset, into, signal);
          log.fetchedBytes += into.byteLength;
        } finally {
          log.inFlight--;
        }
      },
    });
  }
  return log;
}
