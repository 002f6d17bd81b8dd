/** How a step is cut: nothing lost, nothing twice, nothing larger than there is room for, and alike for every budget. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { attentionFlopPerDispatch, type Chunk, chunksOf, headSlices, passesOf } from '../../src/engine/passes';
import type { ModelConfig } from '../../src/format/types';

const configOf = (numAttentionHeads: number) => ({ numAttentionHeads, headDim: 256 }) as ModelConfig;

const step = fc.record({
  heads: fc.constantFrom(8, 24, 64),
  position: fc.nat(200_000),
  tokens: fc.integer({ min: 1, max: 3000 }),
  chunkTokens: fc.integer({ min: 1, max: 512 }),
});
const chunksFor = ({
  heads,
  position,
  tokens,
  chunkTokens,
}: {
  heads: number;
  position: number;
  tokens: number;
  chunkTokens: number;
}) => chunksOf(configOf(heads), position, tokens, chunkTokens, [], attentionFlopPerDispatch);

describe('chunksOf', () => {
  test('every token is in one chunk, in order, and none is longer than asked for', () => {
    fc.assert(
      fc.property(step, (wanted) => {
        let next = 0;
        for (const { first, tokens, position } of chunksFor(wanted)) {
          expect(first).toBe(next);
          expect(position).toBe(wanted.position + first);
          expect(tokens).toBeGreaterThan(0);
          expect(tokens).toBeLessThanOrEqual(wanted.chunkTokens);
          next += tokens;
        }
        expect(next).toBe(wanted.tokens);
      }),
    );
  });

  test('near the start all chunks but the last have the length asked for', () => {
    expect(chunksOf(configOf(8), 0, 150, 64).map(({ tokens }) => tokens)).toEqual([64, 64, 22]);
  });

  test('far into a context chunks shrink where one attention dispatch must stay short', () => {
    const heads = 24;
    const shrunk = (position: number) => chunksOf(configOf(heads), position, 512, 512, [], attentionFlopPerDispatch);
    const lengths = [0, 8000, 32_000, 128_000].map((position) => shrunk(position)[0]!.tokens);
    expect(chunksOf(configOf(heads), 128_000, 512, 512)[0]!.tokens).toBe(512);
    expect(lengths).toEqual([...lengths].sort((a, b) => b - a));
    expect(lengths[0]).toBe(512);
    expect(lengths[3]).toBe(16);
    for (const [i, position] of [0, 8000, 32_000].entries()) {
      expect(4 * heads * 256 * (position + 512) * lengths[i]!).toBeLessThanOrEqual(5e10);
    }
  });
});

describe('passesOf', () => {
  test('keeps chunks whole and in order, within the room for residual rows', () => {
    fc.assert(
      fc.property(step, fc.nat(4096), (wanted, more) => {
        const chunks = chunksFor(wanted);
        const room = wanted.chunkTokens + more;
        const passes = passesOf(chunks, room);
        expect(passes.flat()).toEqual(chunks);
        for (const pass of passes) {
          expect(pass.length).toBeGreaterThan(0);
          expect(tokensOf(pass)).toBeLessThanOrEqual(room);
        }
        // No pass could have taken the next one's first chunk.
        for (const [i, pass] of passes.slice(0, -1).entries()) {
          expect(tokensOf(pass) + passes[i + 1]![0]!.tokens).toBeGreaterThan(room);
        }
      }),
    );
  });

  test('without room for residual rows each chunk is a pass, however short', () => {
    const chunks = chunksOf(configOf(24), 32_000, 512, 512, [], attentionFlopPerDispatch);
    expect(chunks.length).toBeGreaterThan(3);
    expect(passesOf(chunks, 0)).toEqual(chunks.map((chunk) => [chunk]));
  });
});

const tokensOf = (chunks: readonly Chunk[]) => chunks.reduce((sum, { tokens }) => sum + tokens, 0);

describe('headSlices', () => {
  test('hold every wanted row once, in order, none across two chunks and none too large', () => {
    fc.assert(
      fc.property(
        step,
        fc.integer({ min: 1, max: 600 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (wanted, headRows, from) => {
          const chunks = chunksFor(wanted);
          const wantedFrom = Math.round(from * wanted.tokens);
          let next = wantedFrom;
          for (const { firstToken, rows } of headSlices(chunks, 0, wantedFrom, headRows)) {
            expect(firstToken).toBe(next);
            expect(rows).toBeGreaterThan(0);
            expect(rows).toBeLessThanOrEqual(headRows);
            const chunk = chunks.find(({ first, tokens }) => firstToken >= first && firstToken < first + tokens)!;
            expect(firstToken + rows).toBeLessThanOrEqual(chunk.first + chunk.tokens);
            next += rows;
          }
          expect(next).toBe(wanted.tokens);
        },
      ),
    );
  });

  test('a row is computed by the same kernels whatever the budget: passes and slices change no mode', () => {
    fc.assert(
      fc.property(step, fc.nat(4096), fc.integer({ min: 1, max: 600 }), (wanted, more, headRows) => {
        const chunks = chunksFor(wanted);
        const modes = (room: number, rows: number) =>
          passesOf(chunks, room).flatMap((pass) =>
            headSlices(pass, pass[0]!.first, 0, rows).flatMap(({ rows: count, mode }) => new Array<string>(count).fill(mode)),
          );
        expect(modes(wanted.chunkTokens + more, headRows)).toEqual(modes(0, 512));
      }),
    );
  });

  test.each([
    { wantedFrom: 149, slices: [{ firstToken: 149, rows: 1, mode: 'decode' }], why: 'the last row' },
    { wantedFrom: 150, slices: [], why: 'none' },
  ])('$why', ({ wantedFrom, slices }) => {
    expect(headSlices(chunksOf(configOf(8), 0, 150, 64), 0, wantedFrom, 64)).toEqual(slices);
  });
});
