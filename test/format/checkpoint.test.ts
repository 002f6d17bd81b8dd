import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { describeCheckpoint, isSkippedTensor } from '../../src/format/checkpoint';
import { parseConfig } from '../../src/format/config';
import { parseSafetensorsHeader, readHeaderLength } from '../../src/format/safetensors';
import { parseShardIndex } from '../../src/format/shard_index';
import type { CheckpointTensors, Dtype, ModelConfig, TensorInfo } from '../../src/format/types';

const fixture = (name: string) => new URL(`../fixtures/${name}`, import.meta.url);
const readText = (name: string) => readFileSync(fixture(name), 'utf8');

function readVectors(name: string, files: string[]) {
  const tensors = files.flatMap((file) => {
    const bytes = readFileSync(fixture(`vectors/${name}/${file}`));
    const length = readHeaderLength(bytes, bytes.byteLength);
    return parseSafetensorsHeader(bytes.subarray(8, 8 + length), file, bytes.byteLength);
  });
  return { config: parseConfig(readText(`vectors/${name}/config.json`)), tensors };
}
const vectors = {
  'dense-4bit': readVectors('dense-4bit', ['model.safetensors']),
  'dense-3bit': readVectors('dense-3bit', ['model.safetensors']),
  'dense-bf16': readVectors('dense-bf16', ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']),
};

const directoryOf = (tensors: readonly TensorInfo[]) => new Map(tensors.map((tensor) => [tensor.name, tensor]));

/** Every tensor that a description binds. */
function boundTensors(value: unknown): TensorInfo[] {
  if (typeof value !== 'object' || value === null) return [];
  if ('byteOffset' in value) return [value as TensorInfo];
  return Object.values(value).flatMap(boundTensors);
}

describe('the three dense vectors', () => {
  test.each([
    { name: 'dense-4bit', naming: 'mlx', add: 0, bits: 4, groupSize: 64 },
    { name: 'dense-3bit', naming: 'mlx', add: 0, bits: 3, groupSize: 32 },
  ] as const)('$name', ({ name, naming, add, bits, groupSize }) => {
    const { config, tensors } = vectors[name];
    const found = describeCheckpoint(config, directoryOf(tensors));
    expect(found).toMatchObject({ naming, lmHead: undefined, finalNorm: { add, length: config.hiddenSize } });
    expect(found.embedTokens).toMatchObject({ kind: 'affine', rows: 512, cols: config.hiddenSize, bits, groupSize });
    expect(found.layers.map(({ kind }) => kind)).toEqual(config.layerTypes);
    const attention = found.layers[3]!;
    expect(attention).toMatchObject({
      inputNorm: { add },
      qNorm: { add, length: 64 },
      qProj: { rows: 512, cols: config.hiddenSize },
    });
    expect(found.layers[0]).toMatchObject({
      norm: { add: 0, length: 32 },
      conv1d: { add: 0 },
      aLog: { add: 0, tensor: { dtype: 'F32' } },
    });
    expect(
      boundTensors(found)
        .map((t) => t.name)
        .sort(),
    ).toEqual(tensors.map((t) => t.name).sort());
  });
  test('dense-bf16: zero-centred norms, an untied head, two shards', () => {
    const { config, tensors } = vectors['dense-bf16'];
    const found = describeCheckpoint(config, directoryOf(tensors));
    expect(found).toMatchObject({
      naming: 'original',
      finalNorm: { add: 1 },
      lmHead: { kind: 'float', dtype: 'BF16', rows: 512, cols: 128 },
    });
    expect(found.layers[0]).toMatchObject({
      inputNorm: { add: 1 },
      postAttentionNorm: { add: 1 },
      norm: { add: 0 },
      conv1d: { length: 256 * 4 },
    });
    expect(found.layers[3]).toMatchObject({ qNorm: { add: 1 }, kNorm: { add: 1 } });
    expect(new Set(boundTensors(found).map(({ file }) => file)).size).toBe(2);
    expect(boundTensors(found)).toHaveLength(tensors.length);
  });
});

describe('the real 27B index', () => {
  const names = [...parseShardIndex(readText('configs/Qwen3.8-27B-MTPLX-mlx-4bit-dynamic.index.json')).keys()];
  const config = parseConfig(readText('configs/Qwen3.8-27B-MTPLX-mlx-4bit-dynamic.config.json'));
  const wanted = names.filter((name) => !isSkippedTensor(name));

  test('every tensor of the language model is bound, with the bits of its override', () => {
    const found = describeCheckpoint(config, directoryOf(synthesize(config, wanted)));
    expect(
      boundTensors(found)
        .map((t) => t.name)
        .sort(),
    ).toEqual(wanted.sort());
    expect(found.lmHead).toMatchObject({ bits: 8, groupSize: 64, rows: 248_320 });
    expect(found.layers[0]!.mlp.gateProj).toMatchObject({ groupSize: 32, rows: 17_408, cols: 5120 });
    expect(found.layers[3]).toMatchObject({ qProj: { rows: 24 * 512 }, kProj: { rows: 1024 } });
  });
});

/** Tensors of these names with the shapes that the config implies, by rules written apart from the code under test. */
function synthesize(config: ModelConfig, names: readonly string[]): TensorInfo[] {
  const { hiddenSize: h, intermediateSize: inter, vocabSize: v, headDim: d, linearNumValueHeads: nv } = config;
  const [q, kv, value] = [config.numAttentionHeads * d, config.numKeyValueHeads * d, nv * config.linearValueHeadDim];
  const conv = 2 * config.linearNumKeyHeads * config.linearKeyHeadDim + value;
  const matrices: Record<string, [number, number]> = {
    embed_tokens: [v, h],
    lm_head: [v, h],
    q_proj: [2 * q, h],
    k_proj: [kv, h],
    v_proj: [kv, h],
    o_proj: [h, q],
    gate_proj: [inter, h],
    up_proj: [inter, h],
    down_proj: [h, inter],
    in_proj_qkv: [conv, h],
    in_proj_z: [value, h],
    in_proj_a: [nv, h],
    in_proj_b: [nv, h],
    out_proj: [h, value],
  };
  const quantised = new Set(names.filter((name) => name.endsWith('.scales')).map((name) => name.slice(0, -'.scales'.length)));
  return names.map((name) => {
    const module = name.slice(0, name.lastIndexOf('.'));
    const [rows, cols] = matrices[module.split('.').at(-1)!] ?? [];
    const { bits, groupSize } = config.quantization?.overrides.get(module) || config.quantization || { bits: 4, groupSize: 64 };
    let shape: number[];
    let dtype: Dtype = 'BF16';
    if (rows !== undefined && cols !== undefined) {
      const isWeight = name.endsWith('.weight');
      if (isWeight && quantised.has(module)) dtype = 'U32';
      shape = [rows, !isWeight ? cols / groupSize : dtype === 'U32' ? (cols * bits) / 32 : cols];
    } else if (name.endsWith('conv1d.weight')) shape = [conv, 4, 1];
    else if (/A_log|dt_bias/.test(name)) shape = [nv];
    else if (name.endsWith('linear_attn.norm.weight')) shape = [config.linearValueHeadDim];
    else shape = [/[qk]_norm/.test(name) ? d : h];
    return { name, file: 'f', dtype, shape, byteOffset: 0, byteLength: 0 };
  });
}

type Change = (tensor: TensorInfo) => Partial<TensorInfo> | undefined;
/** A vector's checkpoint with tensors changed; `undefined` drops one. */
function changed(name: keyof typeof vectors, change: Change, config: Partial<ModelConfig> = {}): CheckpointTensors {
  const tensors = vectors[name].tensors.flatMap((tensor) => {
    const fields = change(tensor);
    return fields ? [{ ...tensor, ...fields }] : [];
  });
  return describeCheckpoint({ ...vectors[name].config, ...config }, directoryOf(tensors));
}
const rename =
  (from: RegExp, to: string): Change =>
  ({ name }) => ({ name: name.replace(from, to) });
const swapConv = ({ shape }: TensorInfo) => ({ shape: [shape[0]!, shape[2]!, shape[1]!] });

describe('names and conventions', () => {
  test.each([
    {
      from: 'dense-4bit',
      change: rename(/^language_model\.model\./, 'model.'),
      naming: 'mlx',
      why: 'text-only MLX: the conv layout tells',
    },
    { from: 'dense-bf16', change: rename(/^model\.language_model\./, 'model.'), naming: 'original', why: 'text-only original' },
    {
      from: 'dense-bf16',
      change: (t: TensorInfo) => (t.name.includes('conv1d') ? swapConv(t) : {}),
      naming: 'mlx',
      why: 'original names, converted bytes',
    },
    {
      from: 'dense-4bit',
      change: (t: TensorInfo) => (t.name.includes('conv1d') ? swapConv(t) : {}),
      naming: 'original',
      why: 'MLX names, raw bytes',
    },
  ] as const)('$why', ({ from, change, naming }) => {
    const found = changed(from, change);
    expect([found.naming, found.finalNorm.add, found.layers[0]!.inputNorm.add]).toEqual(
      naming === 'mlx' ? ['mlx', 0, 0] : ['original', 1, 1],
    );
  });

  test.each([
    { from: 'dense-4bit', change: (() => ({})) as Change, naming: 'mlx' },
    { from: 'dense-bf16', change: (() => ({})) as Change, naming: 'original' },
    { from: 'dense-bf16', change: rename(/^model\.language_model\./, 'model.'), naming: 'original' },
  ] as const)('without a linear layer the prefix decides: $from -> $naming', ({ from, change, naming }) => {
    const attentionOnly: Change = (tensor) => {
      if (/layers\.[012]\./.test(tensor.name)) return undefined;
      const name = tensor.name.replace('layers.3', 'layers.0');
      return { name, ...change({ ...tensor, name }) };
    };
    const found = changed(from, attentionOnly, { numHiddenLayers: 1, layerTypes: ['full_attention'] });
    expect([found.naming, found.layers[0]!.inputNorm.add]).toEqual([naming, naming === 'mlx' ? 0 : 1]);
  });

  test.each([
    ['model.visual.blocks.0.attn.qkv.weight', true],
    ['visual.patch_embed.proj.weight', true],
    ['vision_tower.blocks.0.norm1.bias', true],
    ['model.vision_tower.x', true],
    ['mtp.fc.weight', true],
    ['language_model.mtp.layers.0.x', true],
    ['language_model.model.layers.0.mlp.gate_proj.weight', false],
    ['model.language_model.norm.weight', false],
    ['lm_head.weight', false],
  ])('%s: skipped %s', (name, skipped) => expect(isSkippedTensor(name)).toBe(skipped));

  test('float vectors and matrices may be BF16, F16 or F32, mixed', () => {
    const dtypes: Dtype[] = ['BF16', 'F16', 'F32'];
    const found = changed('dense-bf16', ({ name }) => ({ dtype: dtypes[name.length % 3]! }));
    expect(new Set(boundTensors(found).map(({ dtype }) => dtype)).size).toBe(3);
  });

  test('overrides are found with any prefix or none', () => {
    for (const path of [
      'language_model.model.layers.0.mlp.gate_proj',
      'model.layers.0.mlp.gate_proj',
      'model.language_model.layers.0.mlp.gate_proj',
      'layers.0.mlp.gate_proj',
    ]) {
      const quantization = { bits: 4, groupSize: 64, overrides: new Map([[path, { bits: 3, groupSize: 64 }]]) };
      // The shape still says 4 bits, so finding the override is an error about this very tensor.
      expect(() => changed('dense-4bit', () => ({}), { quantization }), path).toThrow(
        /layers\.0\.mlp\.gate_proj\.weight is \[256, 16\]; expected \[256, 12\] \(3-bit/,
      );
    }
  });
});

describe('refuses, naming the tensor and both shapes', () => {
  const only =
    (part: string, fields: Partial<TensorInfo> | undefined): Change =>
    ({ name }) =>
      name.includes(part) ? fields : {};
  const quantization = (params: object) => ({ quantization: { bits: 4, groupSize: 64, overrides: new Map(), ...params } });
  test.each([
    {
      from: 'dense-bf16',
      change: only('embed_tokens', undefined),
      says: /no token embedding.*language_model\.model\.embed_tokens/,
    },
    {
      from: 'dense-bf16',
      change: only('layers.1.mlp.up_proj', undefined),
      says: /no tensor model\.language_model\.layers\.1\.mlp\.up_proj\.weight \(expected \[256, 128\]\)/,
    },
    { from: 'dense-bf16', change: only('lm_head', undefined), says: /no tensor lm_head\.weight/ },
    { from: 'dense-bf16', change: only('layers.0.linear_attn.A_log', undefined), says: /A_log \(expected \[4\]\)/ },
    {
      from: 'dense-bf16',
      change: only('layers.0.linear_attn.conv1d', undefined),
      says: /layers\.0\.linear_attn\.conv1d\.weight \(expected \[256, 1, 4\]\)/,
    },
    {
      from: 'dense-bf16',
      change: only('q_proj', { shape: [256, 128] }),
      says: /q_proj\.weight is \[256, 128\]; expected \[512, 128\]/,
    },
    { from: 'dense-bf16', change: only('q_norm', { shape: [1, 64] }), says: /q_norm\.weight is \[1, 64\]; expected \[64\]/ },
    {
      from: 'dense-bf16',
      change: only('layers.2.linear_attn.conv1d', { shape: [256, 4] }),
      says: /conv1d\.weight is \[256, 4\]; expected \[256, 1, 4\]/,
    },
    {
      from: 'dense-bf16',
      change: only('layers.2.linear_attn.conv1d', { shape: [256, 4, 1] }),
      says: /layers\.2.*\[256, 4, 1\].*layers\.0.*\[256, 1, 4\].*mixes/,
    },
    {
      from: 'dense-bf16',
      change: only('layers.0.linear_attn.conv1d', { shape: [255, 1, 4] }),
      says: /conv1d\.weight is \[255, 1, 4\]; expected \[256, 1, 4\]/,
    },
    {
      from: 'dense-bf16',
      change: only('o_proj', { dtype: 'I32' }),
      says: /o_proj\.weight \[128, 256\] is I32; expected BF16, F16, F32/,
    },
    { from: 'dense-bf16', change: only('dt_bias', { dtype: 'U8' }), says: /dt_bias \[4\] is U8/ },
    {
      from: 'dense-bf16',
      change: () => ({}),
      config: { numHiddenLayers: 3, layerTypes: vectors['dense-bf16'].config.layerTypes.slice(0, 3) },
      says: /layers\.3.*num_hidden_layers is 3/,
    },
    {
      from: 'dense-4bit',
      change: only('gate_proj.weight', { dtype: 'I32' }),
      says: /gate_proj\.weight \[256, 16\] is I32; expected U32/,
    },
    { from: 'dense-4bit', change: only('gate_proj.biases', undefined), says: /gate_proj\.biases \(expected \[256, 2\]\)/ },
    {
      from: 'dense-4bit',
      change: only('gate_proj.scales', { shape: [256, 4] }),
      says: /gate_proj\.scales is \[256, 4\]; expected \[256, 2\] \(groups of 64/,
    },
    { from: 'dense-4bit', change: only('gate_proj.scales', { dtype: 'U8' }), says: /gate_proj\.scales \[256, 2\] is U8/ },
    {
      from: 'dense-4bit',
      change: only('gate_proj.biases', { dtype: 'F32' }),
      says: /gate_proj\.biases \[256, 2\] is F32; expected BF16/,
    },
    {
      from: 'dense-4bit',
      change: only('gate_proj.scales', undefined),
      says: /gate_proj\.weight is \[256, 16\]; expected \[256, 128\]/,
    },
    {
      from: 'dense-4bit',
      change: () => ({}),
      config: { quantization: undefined },
      says: /embed_tokens\.scales exists, but config\.json has no 'quantization'/,
    },
    {
      from: 'dense-4bit',
      change: () => ({}),
      config: quantization({ overrides: new Map([['model.embed_tokens', false]]) }),
      says: /embed_tokens.*is not quantised/,
    },
    {
      from: 'dense-4bit',
      change: () => ({}),
      config: quantization({ bits: 8 }),
      says: /embed_tokens\.weight is \[512, 16\]; expected \[512, 32\] \(8-bit/,
    },
    {
      from: 'dense-4bit',
      change: () => ({}),
      config: quantization({ groupSize: 32 }),
      says: /embed_tokens\.scales is \[512, 2\]; expected \[512, 4\]/,
    },
  ] as { from: keyof typeof vectors; change: Change; config?: Partial<ModelConfig>; says: RegExp }[])(
    '$says',
    ({ from, change, config, says }) => {
      expect(() => changed(from, change, config)).toThrow(
        expect.objectContaining({ code: 'format', message: expect.stringMatching(says) }),
      );
    },
  );

  test.each([
    { config: { ...quantization({ groupSize: 16 }) }, says: /groups of 16.*32, 64, 128/ },
    { config: { ...quantization({ groupSize: 128 }), hiddenSize: 192 }, says: /rows of 192.*groups of 128/ },
  ])('unsupported: $says', ({ config, says }) => {
    expect(() => changed('dense-4bit', () => ({}), config)).toThrow(
      expect.objectContaining({ code: 'unsupported', message: expect.stringMatching(says) }),
    );
  });
  test('unsupported: float rows that are not whole vec4s', () => {
    const change: Change = ({ name, shape }) => (name.includes('embed_tokens') ? { shape: [shape[0]!, 130] } : {});
    expect(() => changed('dense-bf16', change, { hiddenSize: 130 })).toThrow(
      expect.objectContaining({ code: 'unsupported', message: expect.stringMatching(/130.*multiples of 4/) }),
    );
  });
});
