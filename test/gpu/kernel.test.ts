import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { fold, specialise } from '../../src/gpu/kernel';

describe('specialise', () => {
  test('overrides become consts of the given values', () => {
    const source = 'override A: u32; override B: f32;\noverride C: bool;';
    expect(specialise('k', source, { A: 3, B: 1e-6, C: 1 })).toBe(
      'const A: u32 = 3u; const B: f32 = f32(0.000001);\nconst C: bool = true;',
    );
  });

  test('a derived override becomes a const of its expression, unless a value is given', () => {
    const source = 'override A: u32;\noverride Q: u32 = (A + 3u) / 4u;';
    expect(specialise('k', source, { A: 8 })).toBe('const A: u32 = 8u;\nconst Q: u32 = (A + 3u) / 4u;');
    expect(specialise('k', source, { A: 8, Q: 5 })).toContain('const Q: u32 = 5u;');
  });

  test('a missing value and an unknown name are errors', () => {
    expect(() => specialise('k', 'override A: u32;', {})).toThrow(/no value for A/);
    expect(() => specialise('k', 'override A: u32;', { A: 1, B: 2 })).toThrow(/does not declare B/);
  });

  test('no override of any kernel escapes it', () => {
    const folder = new URL('../../wgsl/', import.meta.url);
    const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.wgsl'));
    expect(files.length).toBeGreaterThan(20);
    for (const file of files) {
      const source = readFileSync(new URL(file, folder), 'utf8').replace(/\/\/.*/g, '');
      const names = [...source.matchAll(/\boverride\s+(\w+)/g)].map((match) => match[1]!);
      expect(specialise(file, source, Object.fromEntries(names.map((name) => [name, 1])))).not.toMatch(/\boverride\b/);
    }
  });
});

test.each([
  [1, [1, 1]],
  [65_535, [65_535, 1]],
  [65_536, [32_768, 2]],
  [200_000, [50_000, 4]],
])('%d workgroups fold into %j, which holds them all', (workgroups, grid) => {
  const [x, y] = fold(workgroups);
  expect([x, y]).toEqual(grid);
  expect(x * y).toBeGreaterThanOrEqual(workgroups);
});
