/** Headers from strangers: 10,000 seeded mutations, and the largest headers with the memory and time they may cost. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';
import { beforeAll, describe, expect, test } from 'vitest';
import { EngineError } from '../../src/errors';
import { parseSafetensorsHeader, readHeaderLength } from '../../src/format/safetensors';
import type { TensorInfo } from '../../src/format/types';
import { makeHeader, seeded } from './headers';

const decoder = new TextDecoder('latin1');
const NUMBERS = [
  '-1',
  '0',
  '1',
  '4',
  '1.5',
  '1e3',
  '4294967296',
  '9007199254740991',
  '9007199254740993',
  '99999999999999999999',
  'NaN',
  '01',
  'null',
  '"1"',
  '[]',
];
const SPLICES = [
  '"__metadata__":{"a":"b"},',
  '"__proto__":{},',
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  '"',
  '\\',
  '\\u0000',
  '\\ud800',
  '\u00ff',
  '\n',
  '"shape":[1],',
  '"dtype":"F16",',
];

const seedHeader = makeHeader(
  {
    'model.embed_tokens.weight': { dtype: 'U32', shape: [16, 8] },
    'model.embed_tokens.scales': { dtype: 'BF16', shape: [16, 1] },
    'model.embed_tokens.biases': { dtype: 'BF16', shape: [16, 1] },
    'model.norm.weight': { dtype: 'F32', shape: [64] },
    empty: { dtype: 'U8', shape: [0] },
    odd: { dtype: 'U8', shape: [3] },
    last: { dtype: 'F16', shape: [2, 2, 2] },
  },
  { format: 'mlx' },
);

/** One file (length field, header, and only the size of the rest), changed in one to four places. */
function mutate(random: (below: number) => number): { first8: Uint8Array; header: Uint8Array; fileBytes: number } {
  let text = decoder.decode(seedHeader.header);
  let fileBytes = seedHeader.fileBytes;
  for (let n = 1 + random(4); n > 0; n--) {
    const at = random(text.length + 1);
    const kind = random(7);
    if (kind === 0) text = text.slice(0, at) + String.fromCharCode(random(256)) + text.slice(at + 1);
    else if (kind === 1) text = random(8) === 0 ? text.slice(0, at) : text.slice(0, at) + text.slice(at + random(6));
    else if (kind === 2) text = text.slice(0, at) + SPLICES[random(SPLICES.length)] + text.slice(at);
    else if (kind === 3) text = text.slice(0, at) + text.slice(random(text.length), random(text.length)) + text.slice(at);
    else if (kind === 4) fileBytes = random(fileBytes + 50);
    else {
      const numbers = [...text.matchAll(/\d+/g)];
      const match = numbers[random(numbers.length)];
      const small = () => String(Number(match![0]) + random(9) - 4);
      if (match)
        text =
          text.slice(0, match.index) +
          (random(2) ? small() : NUMBERS[random(NUMBERS.length)]) +
          text.slice(match.index + match[0].length);
    }
  }
  const header = Uint8Array.from(text, (c) => c.charCodeAt(0));
  const first8 = new Uint8Array(8);
  new DataView(first8.buffer).setUint32(random(50) === 0 ? 4 : 0, random(20) === 0 ? random(2 ** 32) : header.byteLength, true);
  return { first8, header, fileBytes };
}

/** Plain comparisons: a framework's `expect` per tensor would be most of the time. */
function wrongIn(tensors: readonly TensorInfo[], headerBytes: number, fileBytes: number): string | undefined {
  const sorted = tensors.filter((t) => t.byteLength > 0).sort((a, b) => a.byteOffset - b.byteOffset);
  let end = 8 + headerBytes;
  for (const tensor of sorted) {
    if (!(tensor.byteOffset >= end)) return `${tensor.name} overlaps what is before it`;
    end = tensor.byteOffset + tensor.byteLength;
  }
  if (!(end <= fileBytes)) return 'a tensor ends outside the file';
  return new Set(tensors.map(({ name }) => name)).size === tensors.length ? undefined : 'a name occurs twice';
}

test('10,000 mutations: EngineError or tensors that lie in the file and apart', () => {
  const random = seeded(20_260_401);
  let accepted = 0;
  const start = performance.now();
  for (let i = 0; i < 10_000; i++) {
    const { first8, header, fileBytes } = mutate(random);
    try {
      const length = readHeaderLength(first8, fileBytes);
      if (length > fileBytes - 8) throw new Error('a header longer than the file was let through');
      if (length > header.byteLength) continue; // the file would have other bytes there
      const tensors = parseSafetensorsHeader(header.subarray(0, length), 'm.safetensors', fileBytes);
      const wrong = wrongIn(tensors, length, fileBytes);
      if (wrong) throw new Error(wrong);
      accepted++;
    } catch (error) {
      if (!(error instanceof EngineError)) throw new Error(`mutation ${i}: ${decoder.decode(header)}`, { cause: error });
    }
  }
  // Both outcomes must occur, or the mutations test nothing.
  expect(accepted).toBeGreaterThan(300);
  expect(accepted).toBeLessThan(9000);
  expect(performance.now() - start).toBeLessThan(20_000);
}, 30_000);

/** Resident memory of a fresh process per kind, because a collector's view of one test among many says little. */
describe('peak memory within 20 x header + 32 MB', () => {
  let code: string;
  beforeAll(async () => {
    const entry = fileURLToPath(new URL('./header_memory.ts', import.meta.url));
    const options = { ssr: true, write: false, rollupOptions: { input: entry }, minify: false } as const;
    const built = await build({ configFile: false, logLevel: 'silent', build: options });
    code = (built as { output: { code: string }[] }).output[0]!.code;
  });
  test.each(['tensors', 'reversed', 'junk', 'string', 'escapes', 'metadata'])(
    '%s',
    (kind) => {
      const run = spawnSync(process.execPath, ['--input-type=module', '-', kind], { input: code, encoding: 'utf8' });
      expect(run.stderr).toBe('');
      const result = JSON.parse(run.stdout) as { headerBytes: number; peakBytes: number; ms: number; outcome: string };
      expect(result.peakBytes, run.stdout).toBeLessThan(20 * result.headerBytes + 32e6);
      expect(result.ms, run.stdout).toBeLessThan(8000);
    },
    30_000,
  );
});
