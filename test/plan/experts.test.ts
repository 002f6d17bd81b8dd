/** How many experts a budget holds, in which slabs, and how they lie on disk. */
import { describe, expect, test } from 'vitest';
import type { FileRange } from '../../src/plan/blocks';
import { expertPool, leastPoolBytes, slabOf } from '../../src/plan/experts';
import { planMemory } from '../../src/plan/memory_plan';
import { storeLayout } from '../../src/plan/store_layout';
import { modelUnits } from '../../src/plan/units';
import { sourcesOf } from '../../src/plan/windows';
import type { PresetName } from '../../src/synth/presets';
import { regularLayerTypes } from '../../src/synth/presets';
import { type PlannedModel, plannedModel } from './models';

const mib = 2 ** 20;
const limits = { maxBufferSize: 2 ** 32, maxStorageBufferBindingSize: 2 ** 31 - 4 };
const shape = { contextTokens: 4096, chunkTokens: 512, kv: 'f16', limits } as const;

describe('a budget of the real shapes', () => {
  const planOf = ({ config, tensors }: PlannedModel, gpuBudgetBytes: number) =>
    planMemory({ config, tensors, ...shape, gpuBudgetBytes });
  const slotsOf = ({ experts }: ReturnType<typeof planOf>) => experts!.slabs.reduce((sum, { slots }) => sum + slots, 0);

  // At most what would fit beside the other weights alone, and not much less: caches, activations and upload buffers take a share.
  test.each([
    ['qwen3.5-35b-a3b', 4e9, 1150, 1649],
    ['qwen3.5-397b-a17b', 8e9, 190, 225],
  ] as [PresetName, number, number, number][])(
    '%s in %d bytes: slots for some of its experts, in every layer',
    (preset, budget, least, most) => {
      const model = plannedModel({ preset, bits: 4 });
      const { experts: all, chosen } = model.config.moe!;
      const plan = planOf(model, budget);
      const { experts: pool, bytes } = plan;
      expect(bytes.total).toBeLessThanOrEqual(budget);
      expect(bytes.experts).toBe(pool!.bytes);
      expect(slotsOf(plan)).toBeGreaterThanOrEqual(least);
      expect(slotsOf(plan)).toBeLessThanOrEqual(most);
      expect(pool).toMatchObject({ complete: false, of: all * model.config.numHiddenLayers });
      expect(pool!.slabs.reduce((sum, { layers }) => sum + layers, 0)).toBe(model.config.numHiddenLayers);
      for (const { slots, layers, bytes } of pool!.slabs) {
        expect(slots).toBeGreaterThanOrEqual(chosen);
        expect(slots).toBeLessThanOrEqual(layers * all);
        expect(bytes).toBe(slots * pool!.slotBytes);
      }
      // All that is left of the budget is less than one more slot in every slab.
      expect(budget - bytes.total).toBeLessThan((pool!.slabs.length + 1) * pool!.slotBytes);
    },
  );
});

describe('a pool', () => {
  const of = { layers: 8, experts: 16, chosen: 4, slotBytes: mib, slabBytes: 40 * mib };

  test('is one for all layers, in as few slabs as the device binds', () => {
    expect(expertPool({ ...of, slabBytes: 2048 * mib }, 30 * mib)!.slabs).toEqual([
      { firstLayer: 0, layers: 8, slots: 30, bytes: 30 * mib },
    ]);
    const { slabs, complete, perToken } = expertPool(of, 100 * mib)!;
    expect(slabs.map(({ layers }) => layers)).toEqual([2, 3, 3]);
    expect(slabs.reduce((sum, { slots }) => sum + slots, 0)).toBe(100);
    expect({ complete, perToken }).toEqual({ complete: false, perToken: 32 });
    expect([0, 1, 2, 7].map((layer) => slabOf({ slabs }, layer))).toEqual([0, 0, 1, 2]);
  });

  test('holds all, each layer whole in one slab, where there is room', () => {
    const { slabs, complete, expectedBytesPerToken } = expertPool(of, 1e12)!;
    expect(complete).toBe(true);
    expect(slabs.every(({ layers, slots, bytes }) => slots === layers * 16 && bytes <= of.slabBytes)).toBe(true);
    expect(expectedBytesPerToken).toBe(0);
  });

  test('has slots for what one token chooses in a layer, or there is none', () => {
    expect(leastPoolBytes(of)).toBe(4 * mib);
    expect(expertPool(of, 4 * mib)!.slabs).toEqual([{ firstLayer: 0, layers: 8, slots: 4, bytes: 4 * mib }]);
    expect(expertPool(of, 4 * mib - 1)).toBeUndefined();
  });

  test('expects fewer bytes a token from more slots', () => {
    const expected = [16, 32, 64, 96, 127].map((slots) => expertPool(of, slots * mib)!.expectedBytesPerToken);
    expect([...expected].sort((a, b) => b - a)).toEqual(expected);
    expect(new Set(expected).size).toBe(5);
  });
});

test('in the store an expert is one aligned run of bytes: gate, up and down with their scales, and nothing else', () => {
  const shapes = {
    ...{ hiddenSize: 128, intermediateSize: 64, vocabSize: 512, numAttentionHeads: 4, numKeyValueHeads: 2, headDim: 64 },
    ...{ layerTypes: regularLayerTypes(4), linearNumKeyHeads: 2, linearNumValueHeads: 4, linearKeyHeadDim: 32 },
    ...{ linearValueHeadDim: 32, tieWordEmbeddings: false },
    moe: { experts: 6, chosen: 2, intermediateSize: 64, sharedIntermediateSize: 64, renormalised: true },
  };
  const { tensors } = plannedModel({ shapes, bits: 4 });
  const { files, index } = storeLayout(tensors);
  const layersOf = (stored?: typeof index) => {
    const from = stored ? { stored } : {};
    return modelUnits(tensors, { slotBytes: 2 ** 50, residentEmbedding: true, ...from }).layers.map(({ moe }) => moe!.experts);
  };
  const originals = layersOf();
  for (const [number, stored] of layersOf(index).entries()) {
    const names = new Set<string>();
    for (let expert = 0; expert < 6; expert++) {
      const ranges = stored.image(expert).blocks.flatMap(({ block }) => block.fills.flatMap(sourcesOf)) as FileRange[];
      expect(ranges.length).toBe(6); // words and pairs of three matrices
      ranges.sort((a, b) => a.byteOffset - b.byteOffset);
      const [first] = ranges as [FileRange];
      names.add(first.file);
      expect(first.byteOffset).toBe(expert * stored.bytes);
      expect(first.byteOffset % 16).toBe(0);
      for (const [i, { file, byteOffset, byteLength }] of ranges.entries()) {
        expect(file).toBe(first.file);
        expect(ranges[i + 1]?.byteOffset ?? (expert + 1) * stored.bytes).toBe(byteOffset + byteLength);
      }
      // Of the checkpoint's own tensors, nine ranges: words, scales and biases of each.
      expect(originals[number]!.image(expert).blocks.flatMap(({ block }) => block.fills.flatMap(sourcesOf)).length).toBe(9);
    }
    expect(names.size).toBe(1);
    expect(files.find(({ name }) => names.has(name))!.byteLength).toBe(6 * stored.bytes);
  }
});
