import type { Gpu } from '../gpu/device';

/**
 * Bytes of GPU memory to use when nobody said: half of the machine's memory where the browser tells it (Chrome, rounded and
 * capped), else 4 GB; 1 GB where buffers are small, as on phones, which end a tab that takes much more.
 */
export function defaultBudget(gpu: Gpu): number {
  if (isSmall(gpu)) return 1e9;
  const gibibytes = (globalThis.navigator as { deviceMemory?: number } | undefined)?.deviceMemory;
  return gibibytes ? Math.max(1e9, gibibytes * 2 ** 29) : 4e9;
}

/** Bytes of CPU memory for copies of conversations when nobody said. */
export function defaultPrefixCache(gpu: Gpu): number {
  return isSmall(gpu) ? 2 ** 26 : 2 ** 28;
}

const isSmall = (gpu: Gpu): boolean => (gpu.adapter.limits.maxBufferSize ?? 0) < 2 ** 30;
