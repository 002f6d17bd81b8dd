/** What of a device chooses the activations of a decode step. */
import { expect, test } from 'vitest';
import { unitsFor } from '../../src/kernels/variants';

const adapter = { isCpu: false, vendor: 'nvidia', architecture: 'hopper', description: '', features: [], limits: {} };

test.each([
  { why: 'int8 in hardware', gpu: { int8Dot: true }, exact: 'int24', fast: 'int16' },
  { why: 'WGSL that has no int8 dot product', gpu: { int8Dot: false }, exact: 'f32x32', fast: 'f32x32' },
  { why: 'a GPU that emulates it', gpu: { int8Dot: true, vendor: 'apple' }, exact: 'f32x32', fast: 'int16' },
  { why: 'a browser that hides the vendor', gpu: { int8Dot: true, vendor: '' }, exact: 'f32x32', fast: 'int16' },
  { why: 'a CPU', gpu: { int8Dot: true, isCpu: true }, exact: 'f32x32', fast: 'int16' },
])('$why: exact $exact, fast $fast', ({ gpu: { int8Dot, ...own }, exact, fast }) => {
  const gpu = { int8Dot, adapter: { ...adapter, ...own } };
  expect({ exact: unitsFor(gpu, 'exact'), fast: unitsFor(gpu, 'fast') }).toEqual({ exact, fast });
});
