/** The GPU's own clock, for profiles alone: on a device of their own, and where it gives no interval the wall clock serves. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { effortOn } from '../../src/bench/ceilings';
import { benchModel, type ContextFigures, type ModelBench } from '../../src/bench/model';
import { clocksText, profileTable, withModelShares } from '../../src/bench/model_report';
import { openPreset, smallShapes } from '../../src/bench/preset';
import { createFma } from '../../src/bench/probes';
import { intervalMs, openTimestamps, type Timestamps } from '../../src/bench/timestamps';
import { type Encode, type Timing, timeWork } from '../../src/bench/timing';
import type { Gpu } from '../../src/gpu/device';
import { openNodeGpu } from '../../src/node/open_gpu';
import { describeSynthetic } from '../../src/synth/layout';
import { presetShapes } from '../../src/synth/presets';

const root = fileURLToPath(new URL('../..', import.meta.url));

let plain: Gpu;
let stamped: Gpu;
beforeAll(async () => {
  plain = await openNodeGpu();
  stamped = await openNodeGpu({ timestamps: true });
}, 60_000);
afterAll(() => {
  for (const gpu of [plain, stamped]) gpu?.device.destroy();
});

test('no device has timestamps but one that was opened for them', () => {
  expect(plain.adapter.features).toContain('timestamp-query');
  expect(plain.device.features.has('timestamp-query')).toBe(false);
  expect(openTimestamps(plain)).toBeUndefined();
  expect(stamped.device.features.has('timestamp-query')).toBe(true);
});

test('nothing but benchmarks asks for them', () => {
  const files = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.ts'));
  const asking = files.filter((path) => /timestamps: true/.test(readFileSync(join(root, 'src', path), 'utf8')));
  expect(asking.sort()).toEqual([join('bench', 'run.ts'), join('node', 'bench.ts')]);
});

test.each([
  ['longer', [1_000_000n, 3_500_000n], 4, 2.5],
  ['as long as a wall clock that is rounded', [0n, 1_500_000n], 1, 1.5],
  ['rounded to nothing', [65_536n, 65_536n], 1, undefined],
  ['run backwards', [3_500_000n, 1_000_000n], 4, undefined],
  ['begun by a stamp that was never written', [0n, 16_212_378_124_288n], 4, undefined],
  ['ended by one', [16_212_378_124_288n, 0n], 4, undefined],
] as const)('an interval %s', (_, stamps, wallMs, expected) => {
  expect(intervalMs(BigUint64Array.from(stamps), wallMs)).toBe(expected);
});

const effort = { seconds: 0, batchMs: 20, batches: { least: 5, most: 5 } };

/** Chains of a kernel that computes `rounds` rounds. */
async function chainOf(gpu: Gpu, rounds: number): Promise<Encode> {
  const { STORAGE, UNIFORM } = GPUBufferUsage;
  const factors = gpu.memory.create('factors', 32, UNIFORM);
  const sink = gpu.memory.create('sink', 256, STORAGE);
  const kernel = createFma(gpu, rounds);
  await kernel.ready;
  const group = kernel.bind({ factors: { buffer: factors }, sink: { buffer: sink } });
  return (pass, _, count) => {
    pass.setPipeline(kernel.pipeline(1));
    pass.setBindGroup(0, group);
    for (let i = 0; i < count; i++) pass.dispatchWorkgroups(2);
  };
}

describe('time per dispatch', () => {
  const time = async (rounds: number, timestamps: Timestamps | undefined): Promise<Timing> =>
    timeWork(stamped, await chainOf(stamped, rounds), { ...effort, timestamps });

  test('by timestamps: of a longer kernel it is longer, and about what the wall clock sees', async () => {
    const timestamps = openTimestamps(stamped)!;
    const [short, long, wall] = [await time(1, timestamps), await time(1024, timestamps), await time(1024, undefined)];
    timestamps.destroy();
    expect([short, long, wall].map(({ clock }) => clock)).toEqual(['timestamp', 'timestamp', 'wall']);
    expect(short.median).toBeGreaterThan(0);
    expect(long.median).toBeGreaterThan(5 * short.median);
    expect(long.median).toBeLessThan(4 * wall.median); // the machine may be busy with something else
    expect(long.median).toBeGreaterThan(wall.median / 4);
  });

  test('without an interval in one of the batches: by the wall clock, of all of them', async () => {
    let asked = 0;
    const timestamps: Timestamps = { time: async () => (++asked < 5 ? 1000 : undefined), destroy() {} };
    const timing = await time(64, timestamps);
    expect(asked).toBe(5);
    expect(timing).toMatchObject({ clock: 'wall', count: 5 });
    expect(timing.median).toBeGreaterThan(0);
    expect(timing.median).toBeLessThan(500);
  });

  test('a clock that stands still is asked with longer batches, and then no more', async () => {
    const asked: number[] = [];
    const encode = await chainOf(stamped, 1);
    const counting: Encode = (pass, first, count) => {
      asked.push(count);
      encode(pass, first, count);
    };
    const pass = { setPipeline() {}, setBindGroup() {}, dispatchWorkgroups() {} } as unknown as GPUComputePassEncoder;
    const timestamps: Timestamps = { time: async (record) => void record(pass), destroy() {} };
    const timing = await timeWork(stamped, counting, { ...effort, batchMs: 1, timestamps });
    expect(timing.clock).toBe('wall');
    expect(Math.max(...asked)).toBe(64 * timing.itemsPerBatch);
    expect(timing.count).toBe(5);
  });
});

describe('the profile of a model', () => {
  const described = describeSynthetic({ shapes: smallShapes(presetShapes('qwen3.5-9b')), bits: 4 });
  const config = { chunkTokens: 16, kv: 'f16' } as const;
  const sizes = { contexts: [0, 20], promptTokens: 16, decodeTokens: 3, repeat: 1, seed: 1 };

  /** What happened, in order. */
  async function profiled(openGpu: () => Promise<Gpu>) {
    const events: string[] = [];
    const bench: ModelBench = {
      ...sizes,
      profile: {
        effort: effortOn(plain),
        openGpu: async () => {
          events.push(`profile's device, the other holding ${plain.memory.bytes} bytes`);
          return openGpu();
        },
      },
      open: (gpu, contextTokens) => {
        events.push(`model ${gpu.device === plain.device ? 'on its own device' : 'on that of the profile'}`);
        return openPreset(gpu, described, { ...config, contextTokens });
      },
      onContext: (figures) => events.push(`context ${figures.context}`),
      onProfiles: ({ context, profiles }) => events.push(`profiles of ${context}: ${profiles.map(({ tokens }) => tokens)}`),
    };
    const rows = (await benchModel(plain, bench)) as ContextFigures[];
    return { rows, events };
  }

  test('is made by timestamps, after all that is measured, of a model that is loaded when the first has gone', async () => {
    let opened: Gpu | undefined;
    const { rows, events } = await profiled(async () => {
      opened = await openNodeGpu({ timestamps: true });
      return opened;
    });
    const measured = [0, 20].flatMap((context) => ['model on its own device', `context ${context}`]);
    const profiles = [0, 20].flatMap((context) => ['model on that of the profile', `profiles of ${context}: 16,1`]);
    expect(events).toEqual([...measured, "profile's device, the other holding 0 bytes", ...profiles]);
    for (const { profiles } of rows) {
      for (const row of profiles.flatMap(({ rows }) => rows)) {
        expect(row).toMatchObject({ clock: 'timestamp', us: expect.any(Number) });
        expect(row.us).toBeGreaterThan(0);
        expect(row.msPerStep).toBeCloseTo((row.dispatches * row.us) / 1000, 9);
      }
    }
    const kernels = rows.map(({ profiles }) => profiles.map(({ rows }) => rows.length));
    expect(Math.min(...kernels.flat())).toBeGreaterThan(5);
    expect((await opened!.device.lost).reason).toBe('destroyed');
    expect(opened!.memory.bytes).toBe(0);
    expect(plain.loss.info).toBeUndefined();
  });

  test('is made by the wall clock where the adapter has no timestamps, and says so', async () => {
    const { rows } = await profiled(() => openNodeGpu());
    const machine = { readGBps: { value: 50, spread: 0 }, fmaTflops: { value: 2, spread: 0 } };
    const reported = withModelShares(rows[0]!, machine);
    if ('skipped' in reported) throw new Error(reported.skipped);
    const [prompt, decode] = reported.profiles;
    expect(new Set([...prompt!.rows, ...decode!.rows].map(({ clock }) => clock))).toEqual(new Set(['wall']));
    expect(profileTable(0, decode!).split('\n')[0]).toMatch(/^decode at context 0: .* ms in kernels by the wall clock$/);
  });
});

test('a report says which clock it was', () => {
  expect(clocksText([{ clock: 'timestamp' }, { clock: 'timestamp' }])).toBe('timestamps of the GPU');
  expect(clocksText([{ clock: 'timestamp' }, { clock: 'wall' }])).toBe('timestamps of the GPU, 1 of 2 by the wall clock');
  expect(clocksText([{ clock: 'wall' }])).toBe('the wall clock');
});
