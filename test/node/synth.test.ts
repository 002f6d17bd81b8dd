/** Synthetic checkpoints: their sizes against the published models', their values, and what becomes of the folder. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { TensorInfo } from '../../src/format/types';
import { bf16Value } from '../../src/kernels/reference/half';
import { openDirectory } from '../../src/node/file_source';
import { score } from '../../src/node/score';
import { synth } from '../../src/node/synth';
import { writeSynthetic } from '../../src/node/synth/write';
import { memorySource } from '../../src/storage/memory';
import { openCheckpoint } from '../../src/stream/open_checkpoint';
import { layOutSynthetic, type SyntheticModel } from '../../src/synth/layout';
import { type PresetName, presetNames, regularLayerTypes, type SyntheticShapes } from '../../src/synth/presets';
import { madeTokenizer } from '../../src/synth/texts';
import { Tokenizer } from '../../src/text/tokenizer';
import { readTensors } from '../model/vectors';

const tiny: SyntheticShapes = {
  hiddenSize: 128,
  intermediateSize: 256,
  vocabSize: 512,
  numAttentionHeads: 4,
  numKeyValueHeads: 2,
  headDim: 64,
  layerTypes: regularLayerTypes(4),
  linearNumKeyHeads: 2,
  linearNumValueHeads: 4,
  linearKeyHeadDim: 32,
  linearValueHeadDim: 32,
  tieWordEmbeddings: true,
};
const noTokenizer = { files: new Map<string, string>(), endIds: [1] };
let folder: string;
let count = 0;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-synth-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const fresh = () => join(folder, `model-${count++}`);
const hash = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

async function write(model: Partial<SyntheticModel> & Record<string, unknown> = {}): Promise<string> {
  const out = fresh();
  await writeSynthetic({ shapes: tiny, bits: 4, out, ...model } as Parameters<typeof writeSynthetic>[0]);
  return out;
}

/** Every tensor's place, and a reader of its bytes. */
async function open(path: string) {
  const files = await openDirectory(path);
  const checkpoint = await openCheckpoint(files);
  const bytes = async ({ file, byteOffset, byteLength }: TensorInfo) => {
    const into = new Uint8Array(byteLength);
    await checkpoint.sources.get(file)!.read(byteOffset, into);
    return into;
  };
  const close = () => {
    for (const source of checkpoint.sources.values()) source.close();
    files.close();
  };
  return { checkpoint, bytes, close };
}

async function tensorHashes(path: string): Promise<Map<string, string>> {
  const { checkpoint, bytes, close } = await open(path);
  const hashes = new Map<string, string>();
  for (const [name, info] of checkpoint.directory) hashes.set(name, hash(await bytes(info)));
  close();
  return new Map([...hashes].sort());
}

describe('presets', () => {
  test.each<[PresetName, parameters: number, gb4: number, gb3: number, shards: number]>([
    ['qwen3.5-0.8b', 752_393_024, 0.424, 0.33, 1],
    ['qwen3.5-2b', 1_881_825_088, 1.059, 0.824, 1],
    ['qwen3.5-4b', 4_205_751_296, 2.367, 1.842, 1],
    ['qwen3.5-9b', 8_953_803_264, 5.038, 3.919, 1],
    ['qwen3.5-27b', 26_895_998_464, 15.133, 11.771, 3],
    ['qwen3.5-35b-a3b', 34_660_610_688, 19.51, 15.18, 4],
    ['qwen3.5-122b-a10b', 122_111_526_912, 68.71, 53.45, 14],
    ['qwen3.5-397b-a17b', 396_346_350_336, 223.01, 173.485, 46],
    ['qwen3-next-80b-a3b', 79_674_391_296, 44.84, 34.89, 9],
  ])('%s has the published number of parameters and bytes', (preset, parameters, gb4, gb3, shards) => {
    const four = layOutSynthetic({ preset, bits: 4 }, noTokenizer);
    expect(four.parameters).toBe(parameters);
    expect(four.shards.length).toBe(shards);
    expect(four.bytes / 1e9).toBeCloseTo(gb4, 2);
    expect(layOutSynthetic({ preset, bits: 3 }, noTokenizer).bytes / 1e9).toBeCloseTo(gb3, 2);
  });

  test.each(presetNames)('%s: no two matrices begin at one place of the random words', (preset) => {
    const { shards, values } = layOutSynthetic({ preset, bits: 4 }, noTokenizer);
    const matrices = shards.flatMap(({ tensors }) => tensors).filter(({ content }) => content.kind === 'q');
    expect(new Set(matrices.map((tensor) => values.startOf(tensor))).size).toBe(matrices.length);
  });

  test('fewer layers keep the pattern from the start', () => {
    const { shapes } = layOutSynthetic({ preset: 'qwen3.5-27b', bits: 4, layers: 6 }, noTokenizer);
    expect(shapes.layerTypes).toEqual(regularLayerTypes(64).slice(0, 6));
    expect(shapes.layerTypes.indexOf('full_attention')).toBe(3);
  });
});

describe('popular experts', () => {
  const moe = { experts: 8, chosen: 2, intermediateSize: 64, sharedIntermediateSize: 192, renormalised: true };
  const mixture = { shapes: { ...tiny, moe }, bits: 4 } as const;

  test('lean the embedding and the routers, and nothing else', async () => {
    const [even, skewed] = [fresh(), fresh()];
    await writeSynthetic({ ...mixture, out: even });
    await writeSynthetic({ ...mixture, out: skewed, skew: 2 });
    const other = await tensorHashes(skewed);
    const changed = [...(await tensorHashes(even))].filter(([name, value]) => other.get(name) !== value).map(([name]) => name);
    expect(changed.every((name) => /(embed_tokens|mlp\.gate)\.biases$/.test(name))).toBe(true);
    expect(changed.length).toBe(1 + tiny.layerTypes.length);
  });

  test('that go with a subject lean the head too', async () => {
    const own = { ...mixture, shapes: { ...mixture.shapes, tieWordEmbeddings: false } };
    const [common, local] = [fresh(), fresh()];
    await writeSynthetic({ ...own, out: common, skew: 2 });
    await writeSynthetic({ ...own, out: local, skew: 2, locality: 0.5 });
    const other = await tensorHashes(local);
    const changed = [...(await tensorHashes(common))].filter(([name, value]) => other.get(name) !== value).map(([name]) => name);
    expect(changed.every((name) => /(embed_tokens|lm_head|mlp\.gate)\.biases$/.test(name))).toBe(true);
    expect(changed.length).toBe(2 + tiny.layerTypes.length);
    const said = [common, local].map((folder) => JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')).synthetic_routing);
    expect(said).toEqual([
      { skew: 2, locality: 0 },
      { skew: 2, locality: 0.5 },
    ]);
  });

  test.each([
    { locality: 0.5, why: 'a head that is the embedding cannot stay with a subject' },
    { locality: 2, shapes: { ...tiny, moe, tieWordEmbeddings: false }, why: 'more than a share' },
  ])('$why', ({ why: _, ...change }) =>
    expect(() => layOutSynthetic({ ...mixture, skew: 2, ...change }, noTokenizer)).toThrow(/A locality from 0 to 1/),
  );

  test.each([{ bits: 16 as const }, { skew: -1 }, { skew: 0, locality: 1 }, { shapes: tiny }])('%o is refused', (change) =>
    expect(() => layOutSynthetic({ ...mixture, skew: 2, ...change }, noTokenizer)).toThrow(
      expect.objectContaining({ code: 'invalid-request', message: expect.stringContaining('skew') }),
    ),
  );
});

describe('what is written', () => {
  test('is read back in every shape', async () => {
    const out = await write({ shardBytes: 60_000, tokenizer: undefined });
    const { checkpoint, close } = await open(out);
    expect(checkpoint.tensors.naming).toBe('mlx');
    expect(checkpoint.config).toMatchObject({ hiddenSize: 128, vocabSize: 512, eosTokenIds: [509, 511] });
    expect([...checkpoint.directory.values()].some(({ byteOffset }) => byteOffset % 4 !== 0)).toBe(true); // as in MLX's files
    expect(checkpoint.sources.size).toBeGreaterThan(3);
    const most = [...checkpoint.sources].filter(([, { size }]) => size > 70_000);
    expect(most).toEqual([]); // a header on top of 60,000
    close();
  });

  test('is as long as reported, and the same for the same seed', async () => {
    const out = fresh();
    const report = await writeSynthetic({ shapes: tiny, bits: 4, out, seed: 7, shardBytes: 100_000 });
    const names = readdirSync(out);
    expect(report.bytes).toBe(names.reduce((sum, name) => sum + statSync(join(out, name)).size, 0));
    expect(report).toMatchObject({ layers: 4, shards: names.filter((name) => name.endsWith('.safetensors')).length });
    const again = await write({ seed: 7, shardBytes: 100_000 });
    for (const name of names) expect(hash(readFileSync(join(again, name)))).toBe(hash(readFileSync(join(out, name))));
    const other = await tensorHashes(await write({ seed: 8 }));
    const same = [...(await tensorHashes(out))].filter(([name, value]) => other.get(name) === value);
    expect(same).toEqual([]);
  });

  test('has the same values in any order and in any number of shards, and no matrix twice', async () => {
    const hashes = await tensorHashes(await write());
    expect(await tensorHashes(await write({ shuffle: true, shardBytes: 50_000 }))).toEqual(hashes);
    expect(new Set(hashes.values()).size).toBe(hashes.size);
  });

  test.each([
    { bits: 4 as const, groupSize: 64 },
    { bits: 3 as const, groupSize: 32 },
  ])('weights of $bits bits have mean 0 and the wanted deviation', async ({ bits, groupSize }) => {
    const { checkpoint, bytes, close } = await open(await write({ bits, groupSize }));
    const gate = checkpoint.tensors.layers[0]!.mlp.gateProj;
    if (gate.kind !== 'affine') throw new Error('not quantised');
    const words = new Uint32Array((await bytes(gate.weight)).buffer);
    const [scales, biases] = [await bytes(gate.scales), await bytes(gate.biases)].map((b) => new Uint16Array(b.buffer));
    const value = (r: number, c: number) => {
      const bit = r * gate.cols * bits + c * bits; // rows are whole words, so the whole is one stream of bits too
      const pair = BigInt(words[bit >> 5]!) | (BigInt(words[(bit >> 5) + 1] ?? 0) << 32n);
      const group = (r * gate.cols + c) / groupSize;
      return (
        bf16Value(scales![Math.floor(group)]!) * Number((pair >> BigInt(bit % 32)) & ((1n << BigInt(bits)) - 1n)) +
        bf16Value(biases![Math.floor(group)]!)
      );
    };
    const all = Float64Array.from({ length: gate.rows * gate.cols }, (_, i) => value(Math.floor(i / gate.cols), i % gate.cols));
    const mean = all.reduce((sum, x) => sum + x, 0) / all.length;
    const deviation = Math.sqrt(all.reduce((sum, x) => sum + (x - mean) ** 2, 0) / all.length);
    expect(Math.abs(mean) * Math.sqrt(gate.cols)).toBeLessThan(0.03);
    expect(Math.abs(deviation * Math.sqrt(gate.cols) - 1)).toBeLessThan(0.05);
    close();
  });

  test('overrides are in the config and in the tensors', async () => {
    const overrides = { 'mlp.down_proj': { bits: 3, groupSize: 32 }, 'layers.3.self_attn.o_proj': false as const };
    const { checkpoint, close } = await open(await write({ overrides }));
    const [first, , , last] = checkpoint.tensors.layers;
    expect(first!.mlp.downProj).toMatchObject({ kind: 'affine', bits: 3, groupSize: 32 });
    expect(first!.mlp.upProj).toMatchObject({ kind: 'affine', bits: 4, groupSize: 64 });
    expect(last!.kind === 'full_attention' && last!.oProj).toMatchObject({ kind: 'float', dtype: 'BF16' });
    close();
  });

  test.each<[string, Partial<SyntheticModel>, string]>([
    ['rows that groups do not divide', { shapes: { ...tiny, intermediateSize: 200 } }, 'rows of 200'],
    ['value heads that key heads do not divide', { shapes: { ...tiny, linearNumValueHeads: 3 } }, 'linear_num_value_heads'],
    ['a seed below 0', { seed: -1 }, 'seed'],
  ])('%s: refused before a byte is written', async (_, model, message) => {
    const before = readdirSync(folder);
    await expect(write(model)).rejects.toThrow(message);
    expect(readdirSync(folder)).toEqual(before);
  });
});

describe('logits', () => {
  test.each<[string, Partial<SyntheticModel>]>([
    ['64 layers, tied', { layers: 64 }],
    [
      '3 bits, head of its own, irregular layers',
      {
        bits: 3,
        groupSize: 32,
        shapes: { ...tiny, tieWordEmbeddings: false, layerTypes: ['full_attention', 'linear_attention', 'full_attention'] },
      },
    ],
    ['BF16, original names', { bits: 16, naming: 'original' }],
    [
      'three value heads a key head, mixed widths',
      {
        shapes: { ...tiny, hiddenSize: 192, linearNumValueHeads: 6, vocabSize: 777 },
        overrides: { embed_tokens: { bits: 3, groupSize: 32 } },
      },
    ],
  ])('%s: finite, with a deviation of 1 to 20', async (_, model) => {
    const path = await write(model);
    const rows = await logitsOf(path, [1, 100, 200, 300, 400, 401, 402, 403]);
    for (const row of rows) {
      expect(row.every(Number.isFinite)).toBe(true);
      const mean = row.reduce((sum, x) => sum + x, 0) / row.length;
      const deviation = Math.sqrt(row.reduce((sum, x) => sum + (x - mean) ** 2, 0) / row.length);
      expect(deviation).toBeGreaterThan(1);
      expect(deviation).toBeLessThan(20);
    }
    const best = rows.map((row) => row.indexOf(Math.max(...row)));
    expect(new Set(best).size).toBeGreaterThan(4); // the choice follows the text
  });
});

async function logitsOf(model: string, tokens: number[]): Promise<Float32Array[]> {
  const [list, out] = [join(folder, 'tokens.json'), join(folder, 'logits.safetensors')];
  writeFileSync(list, JSON.stringify(tokens));
  const log = vi.spyOn(console, 'log').mockImplementation(() => {});
  await score(['--model', model, '--tokens', list, '--out', out]).finally(() => log.mockRestore());
  const logits = new Float32Array((await readTensors(memorySource(readFileSync(out), 'logits'))).get('logits')!.buffer);
  const vocab = logits.length / tokens.length;
  return tokens.map((_, i) => logits.subarray(i * vocab, (i + 1) * vocab));
}

describe('the tokenizer', () => {
  test.each([259, 512, 248_320])('of a vocabulary of %d turns text to ids and every id to text', (vocabSize) => {
    const { files, endIds } = madeTokenizer(vocabSize);
    const tokenizer = new Tokenizer(files.get('tokenizer.json')!, files.get('tokenizer_config.json'));
    expect(tokenizer.vocabSize).toBe(Math.min(vocabSize, 248_077));
    const text = 'Once upon a time, 3 größe\n\n  <tags> 漢字!';
    expect(tokenizer.decode(tokenizer.encode(text, { allowSpecialTokens: true }))).toBe(text);
    expect(endIds).toEqual(['<|im_end|>', '<|endoftext|>'].map((token) => tokenizer.idOf(token)));
    if (vocabSize === 248_320) expect(endIds).toEqual([248_046, 248_044]);
    const texts = new Set(
      Array.from({ length: tokenizer.vocabSize }, (_, id) => Buffer.from(tokenizer.tokenBytes(id)!).toString('latin1')),
    );
    expect(texts.size).toBe(tokenizer.vocabSize);
  });

  test('can be copied from a folder', async () => {
    const own = join(import.meta.dirname, '../../demo/model');
    const out = await write({ shapes: { ...tiny, vocabSize: 4096 }, tokenizer: own });
    expect(readFileSync(join(out, 'tokenizer.json'), 'utf8')).toBe(readFileSync(join(own, 'tokenizer.json'), 'utf8'));
    expect(JSON.parse(readFileSync(join(out, 'generation_config.json'), 'utf8')).eos_token_id).toEqual([4095, 4093]);
    await expect(write({ tokenizer: own })).rejects.toThrow('Choose a smaller tokenizer');
  });
});

describe('the folder', () => {
  test('a model is replaced with force only, and whole', async () => {
    const out = await write({ shardBytes: 50_000 });
    const options = { shapes: tiny, bits: 4, out } as const;
    await expect(writeSynthetic(options)).rejects.toThrow('--force');
    await writeSynthetic({ ...options, force: true });
    expect(readdirSync(out).filter((name) => name.endsWith('.safetensors'))).toEqual(['model.safetensors']);
  });

  test('a folder with other files is never touched', async () => {
    const out = fresh();
    mkdirSync(out);
    writeFileSync(join(out, 'thesis.txt'), 'years of work');
    await expect(writeSynthetic({ shapes: tiny, bits: 4, out, force: true })).rejects.toThrow('thesis.txt');
    expect(readdirSync(out)).toEqual(['thesis.txt']);
  });

  test('an empty folder and what a killed run left are no obstacle', async () => {
    const out = fresh();
    mkdirSync(out);
    mkdirSync(`${out}.part`);
    writeFileSync(join(`${out}.part`, 'model-00001-of-00002.safetensors'), 'half');
    await writeSynthetic({ shapes: tiny, bits: 4, out });
    expect(existsSync(`${out}.part`)).toBe(false);
    expect(readdirSync(out)).toContain('model.safetensors');
  });

  test('a disk that is too small is noticed before anything is written', async () => {
    const shapes = { ...tiny, hiddenSize: 1 << 14, intermediateSize: 1 << 17 };
    const onStart = () => {
      throw new Error('this disk has room for terabytes');
    };
    const out = fresh();
    await expect(writeSynthetic({ shapes, layers: 1024, bits: 4, out, onStart })).rejects.toThrow(
      /needs .* GB and .* GB are free/,
    );
    expect(existsSync(out)).toBe(false);
  });

  test('cancelling leaves nothing behind', async () => {
    const stop = new AbortController();
    const out = fresh();
    const started = writeSynthetic({ shapes: tiny, bits: 4, out, signal: stop.signal, onStart: () => stop.abort() });
    await expect(started).rejects.toMatchObject({ name: 'AbortError' });
    expect([out, `${out}.part`].filter(existsSync)).toEqual([]);
  });
});

describe('the command', () => {
  test('writes a preset and ends with one line of JSON', async () => {
    const [out, lines] = [fresh(), [] as string[]];
    const log = vi.spyOn(console, 'log').mockImplementation((line) => void lines.push(line));
    const err = vi.spyOn(console, 'error').mockImplementation(() => {});
    await synth(['--preset', 'qwen3.5-0.8b', '--layers', '1', '--out', out]);
    log.mockRestore();
    err.mockRestore();
    expect(lines.length).toBe(1);
    expect(JSON.parse(lines[0]!)).toMatchObject({
      preset: 'qwen3.5-0.8b',
      bits: 4,
      layers: 1,
      shards: 1,
      parameters: 275_836_064,
    });
    rmSync(out, { recursive: true });
  });

  test.each([
    [['--preset', 'gpt-5', '--out', 'x'], '--preset must be qwen3.5-0.8b or'],
    [['--preset', 'qwen3.5-2b'], '--out is missing'],
    [['--preset', 'qwen3.5-2b', '--out', 'x', '--bits', '8'], '--bits must be 3 or 4 or 16'],
  ])('%j is refused', async (args, message) => {
    await expect(synth(args)).rejects.toThrow(message);
  });
});
