import { beforeAll, describe, expect, test } from 'vitest';
import type { Gpu } from '../../src/gpu/device';
import { openNodeGpu } from '../../src/node/open_gpu';
import { stagingBytes } from '../../src/stream/upload';
import { uploadCases } from '../stream/upload_cases';

let gpu: Gpu;
const uncaptured: string[] = [];
beforeAll(async () => {
  gpu = await openNodeGpu();
  gpu.device.addEventListener('uncapturederror', ({ error }) => uncaptured.push(error.message));
});

describe.each(['mapped', 'write'] as const)('uploads: %s', (kind) => {
  test.each(uploadCases)('$name', async ({ run, loses }) => {
    await run(kind, loses ? await openNodeGpu() : gpu);
    expect(uncaptured).toEqual([]);
  });
});

test.each([
  ['mapped', undefined, 16 << 20],
  ['write', undefined, 16 << 20],
  ['mapped', { pieceBytes: 8 << 20, buffers: 4 }, 32 << 20],
  ['write', { pieceBytes: 8 << 20, buffers: 4 }, 16 << 20],
  ['write', { pieceBytes: 20 << 20, buffers: 4 }, 16 << 20],
  ['mapped', { pieceBytes: 1000, buffers: 2 }, 2016],
  ['write', { pieceBytes: 16 << 20, buffers: 2, uncapped: true }, 32 << 20],
] as const)('staging of %s with %j is %d bytes', (kind, options, bytes) => expect(stagingBytes(kind, options)).toBe(bytes));
