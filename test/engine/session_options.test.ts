/** What a session is given where nobody asked for anything else. */
import { expect, test } from 'vitest';
import { sessionOptions } from '../../src/engine/engine_core';

import type { Gpu } from '../../src/gpu/device';
import type { EngineConfig } from '../../src/protocol/engine';
import type { OpenedCheckpoint } from '../../src/stream/open_checkpoint';

const options = (config: EngineConfig, vendor: string, { int8Dot = true, isCpu = false } = {}) =>
  sessionOptions(
    config,
    { config: { maxPositionEmbeddings: 262_144 } } as OpenedCheckpoint,
    { adapter: { vendor, isCpu }, int8Dot } as Gpu,
  );

test.each([
  ['nvidia', {}, 'fast'],
  ['Intel', {}, 'fast'],
  ['amd', {}, 'fast'],
  ['apple', {}, 'exact'],
  ['', {}, 'exact'],
  ['nvidia', { int8Dot: false }, 'exact'],
  ['google', { isCpu: true }, 'exact'],
] as const)('products of integers are the default where hardware makes them: %s %o %s', (vendor, has, precision) => {
  expect(options({}, vendor, has).precision).toBe(precision);
  for (const asked of ['exact', 'fast'] as const) expect(options({ precision: asked }, vendor, has).precision).toBe(asked);
});

test('chunks are short on a CPU adapter, where a long one would take seconds', () => {
  expect(options({}, 'nvidia').chunkTokens).toBe(512);
  expect(options({}, 'google', { isCpu: true }).chunkTokens).toBe(32);
  expect(options({ chunkTokens: 7 }, 'nvidia').chunkTokens).toBe(7);
});
