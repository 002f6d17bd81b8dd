/** Attention of a long context in several submits, as a slow GPU has it, made to happen in a short one: what a submit may hold is small. */
import { afterEach, beforeAll, expect, test, vi } from 'vitest';
import { Pacer } from '../../src/engine/pacing';
import type { Gpu } from '../../src/gpu/device';
import { openDirectory } from '../../src/node/file_source';
import { openNodeGpu } from '../../src/node/open_gpu';
import { scoreVectors } from './vectors';

let gpu: Gpu;
beforeAll(async () => {
  gpu = { ...(await openNodeGpu()), direct: false };
}, 60_000);
afterEach(() => vi.restoreAllMocks());

test('attention in pieces gives the same bits', { timeout: 120_000 }, async () => {
  const files = await openDirectory(new URL('../fixtures/vectors/dense-4bit', import.meta.url).pathname);
  const score = () => scoreVectors(gpu, files, { chunkTokens: 64, kv: 'f32', f16: false });
  const submits = vi.spyOn(gpu.device.queue, 'submit');
  const whole = await score();
  const usual = submits.mock.calls.length;
  submits.mockClear();
  vi.spyOn(Pacer.prototype, 'attentionFlop').mockReturnValue(20_000);
  const pieces = await score();
  expect(submits.mock.calls.length).toBeGreaterThan(usual);
  expect(pieces.prefillLogits.some((value) => value !== 0)).toBe(true);
  expect(pieces.prefillLogits).toEqual(whole.prefillLogits);
});
