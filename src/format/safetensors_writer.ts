/** The other direction: the header of a safetensors file for tensors whose shapes are known before their values. */
import { type Dtype, dtypeBytes } from './types';

export type PlannedTensor = { name: string; dtype: Dtype; shape: readonly number[] };

/**
 * @returns the file's first bytes (length word and JSON, padded to 8), and where each tensor's bytes belong in the file.
 */
export function layOutSafetensors(tensors: readonly PlannedTensor[]): {
  head: Uint8Array<ArrayBuffer>;
  byteOffset: Map<string, number>;
  totalBytes: number;
} {
  const header: Record<string, { dtype: Dtype; shape: readonly number[]; data_offsets: [number, number] }> = {};
  let end = 0;
  for (const { name, dtype, shape } of tensors) {
    const begin = end;
    end += shape.reduce((product, size) => product * size, dtypeBytes[dtype]);
    header[name] = { dtype, shape, data_offsets: [begin, end] };
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  const headerBytes = Math.ceil(json.byteLength / 8) * 8;
  const head = new Uint8Array(8 + headerBytes).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(headerBytes), true);
  head.set(json, 8);
  const byteOffset = new Map(tensors.map(({ name }) => [name, head.byteLength + header[name]!.data_offsets[0]]));
  return { head, byteOffset, totalBytes: head.byteLength + end };
}
