/** The shapes that are measured are those of the model, and their copies lie where the records say. */
import { describe, expect, test } from 'vitest';
import { matricesOf, shrunk } from '../../src/bench/matrices';
import { layOutWeights } from '../../src/bench/weights';
import { modelUnits } from '../../src/plan/units';
import { describeSynthetic } from '../../src/synth/layout';
import type { PresetName } from '../../src/synth/presets';

const matrices = (preset: PresetName) => {
  const { tensors } = describeSynthetic({ preset, bits: 4 });
  return matricesOf(modelUnits(tensors, { slotBytes: Number.POSITIVE_INFINITY, residentEmbedding: true }));
};
const format = { kind: 'affine', bits: 4, group: 64, pair: 'bf16' } as const;

test('27B: every shape once, with how many of it a token passes', () => {
  const rows = matrices('qwen3.5-27b').map(({ label, rows, cols, perToken }) => `${label} ${rows}x${cols} ${perToken}`);
  expect(rows).toEqual([
    'in_proj_qkv 10240x5120 48',
    'in_proj_z 6144x5120 48',
    'in_proj_b in_proj_a 48x5120 96',
    'out_proj o_proj 5120x6144 64',
    'gate_proj up_proj 17408x5120 128',
    'down_proj 5120x17408 64',
    'q_proj 12288x5120 16',
    'k_proj v_proj 1024x5120 32',
    'lm_head 248320x5120 1',
  ]);
});

test('a tied head is the embedding, once', () => {
  const all = matrices('qwen3.5-0.8b');
  expect(all.filter(({ head }) => head)).toEqual([
    { label: 'lm_head', rows: 248_320, cols: 1024, format, perToken: 1, head: true },
  ]);
});

test('shrunk matrices that become equal are one', () => {
  const small = shrunk(matrices('qwen3.5-27b'), { rows: 128, cols: 256 });
  expect(small.map(({ rows, cols, perToken }) => [rows, cols, perToken])).toEqual([
    [128, 256, 401],
    [48, 256, 96],
  ]);
});

describe('copies of a matrix in slabs', () => {
  const mib = 2 ** 20;
  test.each([
    { rows: 48, cols: 5120, slabBytes: 128 * mib, atLeast: 256 * mib, why: 'many small copies in a few slabs' },
    { rows: 17408, cols: 5120, slabBytes: 2048 * mib - 256, atLeast: 256 * mib, why: 'all copies in one slab' },
    { rows: 248_320, cols: 5120, slabBytes: 128 * mib, atLeast: 256 * mib, why: 'one copy in parts' },
    { rows: 17, cols: 64, slabBytes: 512, atLeast: 1000, why: 'parts of a few rows, the last one shorter' },
  ])('$rows x $cols, slabs of $slabBytes: $why', ({ rows, cols, slabBytes, atLeast }) => {
    const matrix = { label: '', rows, cols, format, perToken: 1, head: false };
    const layout = layOutWeights(matrix, { slabBytes, atLeast });
    const { partRows, partsPerCopy, partsPerSlab, pairsAt, stride, copies, wordBytes, pairBytes } = layout;
    expect(copies * rows * (wordBytes + pairBytes)).toBeGreaterThanOrEqual(atLeast);
    expect(partRows * partsPerCopy).toBeGreaterThanOrEqual(rows);
    expect(partRows * (partsPerCopy - 1)).toBeLessThan(rows); // no part is empty
    expect(pairsAt).toBeGreaterThanOrEqual(partRows * wordBytes);
    expect(stride).toBeGreaterThanOrEqual(pairsAt + partRows * pairBytes);
    expect(partsPerSlab * stride).toBeLessThanOrEqual(slabBytes);
    expect([pairsAt % 16, stride % 256]).toEqual([0, 0]);
  });
});
