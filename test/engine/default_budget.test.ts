/** What is documented of a load that names no budget: half of the machine's memory where the browser tells it, else 4 GB; 1 GB on small devices. */
import { afterEach, expect, test, vi } from 'vitest';
import { defaultBudget } from '../../src/engine/default_budget';
import type { Gpu } from '../../src/gpu/device';

afterEach(() => void vi.unstubAllGlobals());

const device = (maxBufferSize: number) => ({ adapter: { limits: { maxBufferSize } } }) as unknown as Gpu;

test.each([
  { maxBufferSize: 2 ** 32, deviceMemory: undefined, bytes: 4e9, why: 'a browser that does not tell (Safari, Firefox)' },
  { maxBufferSize: 2 ** 32, deviceMemory: 16, bytes: 2 ** 33, why: '16 GiB' },
  { maxBufferSize: 2 ** 32, deviceMemory: 8, bytes: 2 ** 32, why: '8 GiB' },
  { maxBufferSize: 2 ** 32, deviceMemory: 0.5, bytes: 1e9, why: 'never less than 1 GB' },
  { maxBufferSize: 2 ** 28, deviceMemory: 8, bytes: 1e9, why: 'buffers of a phone' },
])('$why: $bytes bytes', ({ maxBufferSize, deviceMemory, bytes }) => {
  vi.stubGlobal('navigator', { deviceMemory });
  expect(defaultBudget(device(maxBufferSize))).toBe(bytes);
});
