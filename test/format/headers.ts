/** Makes safetensors headers for tests: right ones, and wrong ones by hand. */
import type { Dtype } from '../../src/format/types';
import { dtypeBytes } from '../../src/format/types';

export type Entry = { dtype: Dtype; shape: number[] };

const encoder = new TextEncoder();

/** JSON bytes of a header whose tensors lie one behind the other, and the size that their file has. */
export function makeHeader(
  entries: Record<string, Entry>,
  metadata?: Record<string, string>,
): { header: Uint8Array; fileBytes: number } {
  let at = 0;
  const fields = Object.entries(entries).map(([name, { dtype, shape }]) => {
    const begin = at;
    at += shape.reduce((a, b) => a * b, dtypeBytes[dtype]);
    return `${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [begin, at] })}`;
  });
  if (metadata) fields.unshift(`"__metadata__":${JSON.stringify(metadata)}`);
  return withBytes(`{${fields.join(',')}}`, at);
}

/** Any text as a header, in a file with `dataBytes` of data behind it. */
export function withBytes(text: string, dataBytes: number): { header: Uint8Array; fileBytes: number } {
  const header = encoder.encode(text);
  return { header, fileBytes: 8 + header.byteLength + dataBytes };
}

/** Seeded, so a failure can be run again: mulberry32. */
export function seeded(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}
