import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../src/format/config';
import { parseGenerationConfig } from '../../src/format/generation';

const read = (name: string) => readFileSync(new URL(`../fixtures/${name}`, import.meta.url), 'utf8');
type Json = Record<string, unknown>;

/** A small right config; tests change one key at a time. */
function text(change: Json = {}): Json {
  return {
    model_type: 'qwen3_5_text',
    hidden_size: 128,
    intermediate_size: 256,
    num_hidden_layers: 4,
    vocab_size: 512,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 64,
    rope_parameters: { rope_type: 'default', rope_theta: 1e7, partial_rotary_factor: 0.25 },
    rms_norm_eps: 1e-6,
    full_attention_interval: 4,
    linear_num_key_heads: 2,
    linear_num_value_heads: 6,
    linear_key_head_dim: 32,
    linear_value_head_dim: 32,
    linear_conv_kernel_dim: 4,
    max_position_embeddings: 4096,
    ...change,
  };
}
const mixture: Json = {
  model_type: 'qwen3_5_moe_text',
  num_experts: 8,
  num_experts_per_tok: 2,
  moe_intermediate_size: 64,
  shared_expert_intermediate_size: 64,
};
const parse = (root: Json, generation?: string) => parseConfig(JSON.stringify(root), generation);
const wrapped = (change: Json = {}, root: Json = {}) => parse({ model_type: 'qwen3_5', text_config: text(change), ...root });

describe('real configs', () => {
  test('0.8B, original', () => {
    expect(parseConfig(read('configs/Qwen3.5-0.8B.config.json'))).toEqual({
      architecture: 'qwen3_5',
      hiddenSize: 1024,
      intermediateSize: 3584,
      numHiddenLayers: 24,
      vocabSize: 248_320,
      numAttentionHeads: 8,
      numKeyValueHeads: 2,
      headDim: 256,
      rotaryDims: 64,
      ropeTheta: 1e7,
      rmsNormEps: 1e-6,
      layerTypes: Array.from({ length: 24 }, (_, i) => (i % 4 === 3 ? 'full_attention' : 'linear_attention')),
      linearNumKeyHeads: 16,
      linearNumValueHeads: 16,
      linearKeyHeadDim: 128,
      linearValueHeadDim: 128,
      linearConvKernelDim: 4,
      tieWordEmbeddings: true,
      maxPositionEmbeddings: 262_144,
      eosTokenIds: [248_044],
      quantization: undefined,
    });
  });
  test('27B, MLX with per-module overrides and both stop ids', () => {
    const config = parseConfig(
      read('configs/Qwen3.8-27B-MTPLX-mlx-4bit-dynamic.config.json'),
      read('configs/Qwen3.8-27B.generation_config.json'),
    );
    expect([config.numAttentionHeads / config.numKeyValueHeads, config.linearNumValueHeads / config.linearNumKeyHeads]).toEqual([
      6, 3,
    ]);
    expect(config.eosTokenIds).toEqual([248_046, 248_044]);
    expect([config.quantization!.bits, config.quantization!.groupSize]).toEqual([4, 32]);
    expect(config.quantization!.overrides.get('language_model.lm_head')).toEqual({ bits: 8, groupSize: 64 });
    expect([config.tieWordEmbeddings, config.layerTypes.length]).toEqual([false, 64]);
  });
  test.each(['Qwen3.5-2B-MLX-bf16.lawrence3699', 'Qwen3.5-9B-MLX-8bit'])('%s', (name) => {
    expect(parseConfig(read(`configs/${name}.config.json`)).rotaryDims).toBe(64);
  });
  test.each([
    ['Qwen3.6-35B-A3B.verl-npu', { experts: 256, chosen: 8, intermediateSize: 512, sharedIntermediateSize: 512 }],
    ['Qwen3.5-moe-mlx.philtrem', { experts: 256, chosen: 8, intermediateSize: 512, sharedIntermediateSize: 512 }],
    ['moe-4bit.vector', { experts: 16, chosen: 4, intermediateSize: 64, sharedIntermediateSize: 64 }],
  ])('%s is a mixture of experts', (name, moe) => {
    const config = parseConfig(read(`configs/${name}.config.json`));
    expect(config.moe).toEqual({ ...moe, renormalised: true });
    expect(config.intermediateSize).toBe(moe.sharedIntermediateSize);
  });

  test.each(['qwen3_5_moe', 'qwen3_5_moe_text', 'qwen3_next'])(
    '%s may have up to 1,024 experts, and says how many a token takes',
    (type) => {
      const many = { ...mixture, model_type: type, num_experts: 1024, num_experts_per_tok: 10 };
      expect(parseConfig(JSON.stringify(text(many))).moe).toMatchObject({ experts: 1024, chosen: 10, renormalised: true });
      const own = parseConfig(JSON.stringify(text({ ...many, num_experts_per_tok: 3, norm_topk_prob: false })));
      expect(own.moe).toMatchObject({ chosen: 3, renormalised: false });
    },
  );
});

describe('forms', () => {
  test.each([
    { root: text(), why: 'text-only root' },
    { root: text({ model_type: 'qwen3_5' }), why: 'text-only root under the wrapper type' },
    { root: { model_type: 'qwen3_5', text_config: text() }, why: 'wrapper' },
    { root: { text_config: text() }, why: 'wrapper without its own type' },
    { root: { model_type: 'qwen3_5', text_config: text({ model_type: undefined }) }, why: 'text_config without a type' },
    { root: text({ rope_parameters: undefined, rope_theta: 1e7, partial_rotary_factor: 0.25 }), why: 'flat rope keys' },
    {
      root: text({ rope_parameters: undefined, rope_theta: 1e7, partial_rotary_factor: null, rope_scaling: { type: 'default' } }),
      why: 'default share',
    },
  ])('$why', ({ root }) => {
    const { rotaryDims, ropeTheta, layerTypes } = parse(root);
    expect([rotaryDims, ropeTheta, layerTypes]).toEqual([
      16,
      1e7,
      ['linear_attention', 'linear_attention', 'linear_attention', 'full_attention'],
    ]);
  });

  test('layer_types win over the interval', () => {
    const layer_types = ['full_attention', 'full_attention', 'linear_attention', 'linear_attention'];
    expect(wrapped({ layer_types }).layerTypes).toEqual(layer_types);
  });
  test('stop ids merge without repeats', () => {
    expect(
      parse({ model_type: 'qwen3_5', eos_token_id: 3, text_config: text({ eos_token_id: [1, 2] }) }, '{"eos_token_id":[2,4]}')
        .eosTokenIds,
    ).toEqual([3, 1, 2, 4]);
  });
  test.each([
    [true, false, true],
    [false, true, false],
    [undefined, true, true],
    [undefined, undefined, false],
  ])('tied: root %s, text %s -> %s', (root, own, tied) => {
    expect(wrapped({ tie_word_embeddings: own }, { tie_word_embeddings: root }).tieWordEmbeddings).toBe(tied);
  });
  test('quantization: false, partial and odd entries', () => {
    const quantization = {
      group_size: 64,
      bits: 4,
      'a.b': false,
      'c.d': { bits: 3 },
      'e.f': { group_size: 32, bits: 6, mode: 'affine' },
      note: 'x',
      more: { by: 'me' },
    };
    expect(wrapped({}, { quantization }).quantization).toEqual({
      bits: 4,
      groupSize: 64,
      overrides: new Map<string, unknown>([
        ['a.b', false],
        ['c.d', { bits: 3, groupSize: 64 }],
        ['e.f', { bits: 6, groupSize: 32 }],
      ]),
    });
  });
  test('quantization_config alone is MLX’s too', () => {
    expect(wrapped({}, { quantization_config: { bits: 3, group_size: 32 } }).quantization).toMatchObject({
      bits: 3,
      groupSize: 32,
    });
  });
});

const sizes = [
  'hidden_size',
  'intermediate_size',
  'num_hidden_layers',
  'vocab_size',
  'num_attention_heads',
  'num_key_value_heads',
  'head_dim',
  'linear_num_key_heads',
];
const moreSizes = [
  'linear_num_value_heads',
  'linear_key_head_dim',
  'linear_value_head_dim',
  'linear_conv_kernel_dim',
  'max_position_embeddings',
];
describe.each([...sizes, ...moreSizes])('%s', (key) => {
  test.each([undefined, null, 0, -1, 1.5, 1e15, '4', [4], {}, true])('refuses %j', (value) => {
    expect(() => wrapped({ [key]: value })).toThrow(
      expect.objectContaining({ code: 'format', message: expect.stringContaining(`'${key}'`) }),
    );
  });
});

describe('refuses, naming the key', () => {
  test.each([
    { change: { num_key_value_heads: 3 }, code: 'format', says: /num_attention_heads.*num_key_value_heads/ },
    { change: { linear_num_value_heads: 5 }, code: 'format', says: /linear_num_value_heads.*linear_num_key_heads/ },
    { change: { rms_norm_eps: 0 }, code: 'format', says: /rms_norm_eps/ },
    { change: { rms_norm_eps: undefined }, code: 'format', says: /rms_norm_eps/ },
    { change: { layer_types: ['full_attention'] }, code: 'format', says: /layer_types.*num_hidden_layers \(4\)/ },
    { change: { layer_types: 'full_attention' }, code: 'format', says: /layer_types/ },
    { change: { layer_types: Array(4).fill('sliding_attention') }, code: 'unsupported', says: /layer_types.*sliding_attention/ },
    { change: { full_attention_interval: 0 }, code: 'format', says: /full_attention_interval/ },
    { change: { rope_parameters: undefined }, code: 'format', says: /rope_theta/ },
    { change: { rope_parameters: { rope_theta: -1 } }, code: 'format', says: /rope_theta/ },
    {
      change: { rope_parameters: { rope_theta: 1e4, partial_rotary_factor: 1.5 } },
      code: 'format',
      says: /partial_rotary_factor/,
    },
    { change: { head_dim: 20 }, code: 'format', says: /5 rotated dimensions/ },
    {
      change: { rope_parameters: { rope_theta: 1e4, rope_type: 'yarn' } },
      code: 'unsupported',
      says: /rope_type.*yarn.*"default"/,
    },
    { change: { rope_scaling: { type: 'linear' } }, code: 'unsupported', says: /rope_scaling.*linear/ },
    { change: { attention_bias: true }, code: 'unsupported', says: /attention_bias/ },
    { change: { hidden_act: 'gelu' }, code: 'unsupported', says: /hidden_act.*gelu.*silu/ },
    { change: { attn_output_gate: false }, code: 'unsupported', says: /attn_output_gate/ },
    { change: { output_gate_type: 'sigmoid' }, code: 'unsupported', says: /output_gate_type/ },
    { change: { linear_conv_kernel_dim: 3 }, code: 'unsupported', says: /linear_conv_kernel_dim/ },
    { change: { num_experts: 8 }, code: 'unsupported', says: /num_experts/ },
    { change: { ...mixture, num_experts: 1025 }, code: 'format', says: /num_experts.*1 to 1024/ },
    { change: { ...mixture, num_experts_per_tok: 9 }, code: 'format', says: /num_experts_per_tok.*num_experts \(8\)/ },
    { change: { ...mixture, mlp_only_layers: [1] }, code: 'unsupported', says: /mlp_only_layers/ },
    { change: { ...mixture, decoder_sparse_step: 2 }, code: 'unsupported', says: /decoder_sparse_step/ },
    { change: { ...mixture, moe_intermediate_size: undefined }, code: 'format', says: /moe_intermediate_size/ },
    { change: { model_type: 'llama' }, code: 'unsupported', says: /model_type.*llama.*qwen3_5/ },
    { change: { eos_token_id: -1 }, code: 'format', says: /eos_token_id/ },
    { change: { eos_token_id: ['a'] }, code: 'format', says: /eos_token_id/ },
  ])('$says', ({ change, code, says }) => {
    expect(() => wrapped(change)).toThrow(expect.objectContaining({ code, message: expect.stringMatching(says) }));
  });

  test.each([
    { root: { model_type: 'gpt2' }, code: 'unsupported', says: /gpt2/ },
    { root: { text_config: [] }, code: 'format', says: /text_config/ },
    { root: { quantization: { bits: 4, group_size: 64, mode: 'mxfp4' } }, code: 'unsupported', says: /mode.*mxfp4.*affine/ },
    {
      root: { quantization: { bits: 4, group_size: 64, 'a.b': { bits: 8, mode: 'mxfp8' } } },
      code: 'unsupported',
      says: /a\.b.*mxfp8/,
    },
    { root: { quantization: { bits: 7, group_size: 64 } }, code: 'format', says: /bits.*2, 3, 4, 5, 6, 8/ },
    { root: { quantization: { bits: 4 } }, code: 'format', says: /group_size/ },
    { root: { quantization: { bits: 4, group_size: 0 } }, code: 'format', says: /group_size/ },
    { root: { quantization_config: { quant_method: 'fp8' } }, code: 'unsupported', says: /quant_method.*fp8/ },
  ])('$says', ({ root, code, says }) => {
    expect(() => wrapped({}, root)).toThrow(expect.objectContaining({ code, message: expect.stringMatching(says) }));
  });

  test.each(['', 'null', '[]', '"x"', '{', `${'['.repeat(100_000)}`])('text %.10s', (json) => {
    expect(() => parseConfig(json)).toThrow(expect.objectContaining({ code: 'format' }));
  });

  test('a size that only the prototype has', () => {
    expect(() => parseConfig('{"model_type":"qwen3_5","__proto__":{"hidden_size":4}}')).toThrow(/no '/);
  });
});

describe('generation_config.json', () => {
  test('a real one', () => {
    expect(parseGenerationConfig(read('configs/Qwen3.8-27B.generation_config.json'))).toEqual({
      temperature: 1,
      topK: 20,
      topP: 0.95,
      doSample: true,
      eosTokenIds: [248_046, 248_044],
    });
  });
  test('every key; null is absent', () => {
    const json = { temperature: 0, top_p: 1, top_k: 0, min_p: 0, repetition_penalty: 1.1, eos_token_id: 7, do_sample: null };
    expect(parseGenerationConfig(JSON.stringify(json))).toEqual({
      temperature: 0,
      topP: 1,
      topK: 0,
      minP: 0,
      repetitionPenalty: 1.1,
      eosTokenIds: [7],
    });
    expect(parseGenerationConfig('{}')).toEqual({ eosTokenIds: [] });
  });
  test.each([
    { temperature: -1 },
    { top_p: 2 },
    { top_k: 1.5 },
    { min_p: '0' },
    { repetition_penalty: 0 },
    { do_sample: 1 },
    { eos_token_id: {} },
  ])('refuses %j', (json) => {
    expect(() => parseGenerationConfig(JSON.stringify(json))).toThrow(
      expect.objectContaining({ code: 'format', message: expect.stringContaining(Object.keys(json)[0]!) }),
    );
  });
});
