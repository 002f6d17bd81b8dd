/**
 * (cos, sin) for every position and rotated pair: [contextTokens, rotaryDims / 2, 2] f32. A table, because WGSL's sin and
 * cos promise nothing beyond [-pi, pi]. Frequencies and angles are rounded to f32 as the reference implementation does, so
 * that long contexts agree with it; the functions themselves are exact.
 */
import type { ModelConfig } from '../format/types';
import type { Gpu } from '../gpu/device';

/** Bytes computed and written at a time: a context of 262,144 tokens has 64 MiB. */
const pieceBytes = 1024 * 1024;

export function createRope(gpu: Gpu, { rotaryDims, ropeTheta }: ModelConfig, contextTokens: number): GPUBuffer {
  const rowBytes = rotaryDims * 4;
  const buffer = gpu.memory.create('rope', contextTokens * rowBytes, GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST);
  const rows = Math.max(1, Math.floor(pieceBytes / rowBytes));
  for (let first = 0; first < contextTokens; first += rows) {
    const table = ropeTable(first, Math.min(rows, contextTokens - first), rotaryDims, ropeTheta);
    gpu.device.queue.writeBuffer(buffer, first * rowBytes, table);
  }
  return buffer;
}

/** Rows for positions [firstPosition, firstPosition + positions). */
export function ropeTable(
  firstPosition: number,
  positions: number,
  rotaryDims: number,
  theta: number,
): Float32Array<ArrayBuffer> {
  const pairs = rotaryDims / 2;
  const frequencies = Array.from({ length: pairs }, (_, i) =>
    Math.fround(1 / Math.fround(theta ** Math.fround((2 * i) / rotaryDims))),
  );
  const table = new Float32Array(positions * pairs * 2);
  for (let row = 0; row < positions; row++) {
    for (let i = 0; i < pairs; i++) {
      const angle = Math.fround((firstPosition + row) * frequencies[i]!);
      table[(row * pairs + i) * 2] = Math.cos(angle);
      table[(row * pairs + i) * 2 + 1] = Math.sin(angle);
    }
  }
  return table;
}
