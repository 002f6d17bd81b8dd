import source from '../../wgsl/advance.wgsl?raw';
import type { Gpu } from '../gpu/device';
import { createKernel, type Kernel } from '../gpu/kernel';
import { shared } from './variants';

/** Stop ids that a loop can look for. */
export const mostStops = 63;

/** ids [1], stops [1 + mostStops] u32 (a count, then ids) -> step, which is one position on, or has no tokens from a stop id on. */
export function createAdvance(gpu: Gpu): Kernel {
  return createKernel(gpu, {
    label: 'advance',
    sources: [shared.step, source],
    bindings: { ids: 'read', stops: 'read', step: 'write' },
    grid: () => [1],
  });
}

/** The kernel's stops. */
export function packStops(ids: Iterable<number>): Uint32Array<ArrayBuffer> {
  const list = [...ids].slice(0, mostStops);
  const words = new Uint32Array(1 + mostStops);
  words.set([list.length, ...list]);
  return words;
}
