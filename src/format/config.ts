/**
 * `config.json` of Qwen3.5, 3.6 and 3.8 models, dense and with experts, and of Qwen3-Next: the multimodal wrapper (language numbers
 * under `text_config`), and the text-only export (the same keys at the root). Every number is checked here, so later rooms may trust a
 * ModelConfig.
 */
import { EngineError } from '../errors';
import { parseGenerationConfig } from './generation';
import { JsonObject } from './json_object';
import type { LayerType, ModelConfig, MoeConfig, Quantization, QuantizationParams } from './types';

const DENSE_TYPES = ['qwen3_5', 'qwen3_5_text'];
const MOE_TYPES = ['qwen3_5_moe', 'qwen3_5_moe_text', 'qwen3_next'];
const SUPPORTED_MODELS = `Qwen3.5, 3.6, 3.8 and Qwen3-Next (model_type ${[...DENSE_TYPES, ...MOE_TYPES].join(', ')})`;
const AFFINE_BITS = [2, 3, 4, 5, 6, 8];

/**
 * Upper bounds several times above the largest published model, and low enough that every product of two of them is an
 * exact integer.
 */
const MAX = {
  width: 1 << 18,
  vocab: 1 << 24,
  layers: 1024,
  heads: 1024,
  headDim: 4096,
  context: 1 << 27,
  experts: 1024,
  chosen: 64,
};

/**
 * @param generationConfig text of generation_config.json, whose stop ids are merged in.
 * @throws EngineError 'format' for a key that is missing or out of range, 'unsupported' for what Sluice does not run; both name the key.
 */
export function parseConfig(config: string, generationConfig?: string): ModelConfig {
  const root = JsonObject.parse(config, 'config.json');
  const wrapped = root.object('text_config');
  const text = wrapped ?? root;
  const moe = checkArchitecture(root, wrapped) ? readMoe(text) : undefined;
  checkFixedChoices(text);

  const numHiddenLayers = text.requiredInteger('num_hidden_layers', { max: MAX.layers });
  const headDim = text.requiredInteger('head_dim', { max: MAX.headDim });
  const result: ModelConfig = {
    architecture: 'qwen3_5',
    hiddenSize: text.requiredInteger('hidden_size', { max: MAX.width }),
    intermediateSize: moe?.sharedIntermediateSize ?? text.requiredInteger('intermediate_size', { max: MAX.width }),
    numHiddenLayers,
    vocabSize: text.requiredInteger('vocab_size', { max: MAX.vocab }),
    numAttentionHeads: text.requiredInteger('num_attention_heads', { max: MAX.heads }),
    numKeyValueHeads: text.requiredInteger('num_key_value_heads', { max: MAX.heads }),
    headDim,
    ...readRope(text, headDim),
    rmsNormEps: text.number('rms_norm_eps', { above: 0, max: 1 }) ?? text.missing('rms_norm_eps'),
    layerTypes: readLayerTypes(text, numHiddenLayers),
    linearNumKeyHeads: text.requiredInteger('linear_num_key_heads', { max: MAX.heads }),
    linearNumValueHeads: text.requiredInteger('linear_num_value_heads', { max: MAX.heads }),
    linearKeyHeadDim: text.requiredInteger('linear_key_head_dim', { max: MAX.headDim }),
    linearValueHeadDim: text.requiredInteger('linear_value_head_dim', { max: MAX.headDim }),
    linearConvKernelDim: text.requiredInteger('linear_conv_kernel_dim', { max: 64 }),
    // The wrapper's own flag is the one that the reference obeys; text-only exports and some copies have only the other.
    tieWordEmbeddings: root.boolean('tie_word_embeddings') ?? text.boolean('tie_word_embeddings') ?? false,
    maxPositionEmbeddings: text.requiredInteger('max_position_embeddings', { max: MAX.context }),
    eosTokenIds: [
      ...new Set([
        ...root.tokenIds('eos_token_id'),
        ...text.tokenIds('eos_token_id'),
        ...(generationConfig === undefined ? [] : parseGenerationConfig(generationConfig).eosTokenIds),
      ]),
    ],
    quantization: readQuantization(root),
    ...(moe ? { moe } : {}),
  };
  checkDivides(text, 'num_attention_heads', result.numAttentionHeads, 'num_key_value_heads', result.numKeyValueHeads);
  checkDivides(text, 'linear_num_value_heads', result.linearNumValueHeads, 'linear_num_key_heads', result.linearNumKeyHeads);
  if (result.linearConvKernelDim !== 4) throw text.unsupported('linear_conv_kernel_dim', '4');
  return result;
}

/** Whether the MLPs are mixtures of experts. */
function checkArchitecture(root: JsonObject, wrapped: JsonObject | undefined): boolean {
  const rootType = root.string('model_type');
  const textType = wrapped?.string('model_type');
  for (const [object, type] of [
    [root, rootType],
    [wrapped, textType],
  ] as const) {
    if (type !== undefined && !DENSE_TYPES.includes(type) && !MOE_TYPES.includes(type))
      throw object!.unsupported('model_type', SUPPORTED_MODELS);
  }
  if (rootType === undefined && textType === undefined) root.missing('model_type');
  const text = wrapped ?? root;
  const moe = MOE_TYPES.includes(textType ?? rootType!);
  if (!moe && text.value('num_experts') !== undefined && text.value('num_experts') !== 0)
    throw text.unsupported('num_experts', `none in a model of type ${textType ?? rootType}`);
  return moe;
}

/** Every layer is a mixture in every published model; one that mixes them with dense layers is refused by name. */
function readMoe(text: JsonObject): MoeConfig {
  const dense = text.array('mlp_only_layers', MAX.layers);
  if (dense && dense.length > 0) throw text.unsupported('mlp_only_layers', 'an empty list: experts in every layer');
  const every = text.integer('decoder_sparse_step', { max: MAX.layers });
  if (every !== undefined && every !== 1) throw text.unsupported('decoder_sparse_step', '1: experts in every layer');
  const experts = text.requiredInteger('num_experts', { max: MAX.experts });
  const chosen = text.requiredInteger('num_experts_per_tok', { max: MAX.chosen });
  if (chosen > experts) throw text.bad('num_experts_per_tok', `at most num_experts (${experts})`);
  return {
    experts,
    chosen,
    intermediateSize: text.requiredInteger('moe_intermediate_size', { max: MAX.width }),
    sharedIntermediateSize: text.requiredInteger('shared_expert_intermediate_size', { max: MAX.width }),
    renormalised: text.boolean('norm_topk_prob') ?? true, // Qwen3.5 has no such key and always does
  };
}

/** Keys with one value in every published model: another value is another architecture. Absent keys have that value. */
function checkFixedChoices(text: JsonObject): void {
  const fixed: [key: string, ...values: unknown[]][] = [
    ['attention_bias', false],
    ['attn_output_gate', true],
    ['hidden_act', 'silu'],
    ['output_gate_type', 'swish', 'silu'],
  ];
  for (const [key, ...values] of fixed) {
    const value = text.value(key);
    if (value !== undefined && !values.includes(value))
      throw text.unsupported(key, values.map((v) => JSON.stringify(v)).join(' or '));
  }
}

/** `rope_parameters`, or the older flat keys with an optional `rope_scaling`. */
function readRope(text: JsonObject, headDim: number): { rotaryDims: number; ropeTheta: number } {
  const nested = text.object('rope_parameters');
  for (const rope of [nested, text.object('rope_scaling')]) {
    for (const key of ['rope_type', 'type']) {
      const type = rope?.string(key);
      if (type !== undefined && type !== 'default') throw rope!.unsupported(key, '"default"');
    }
  }
  const limits = { above: 0, max: 1e12 };
  const ropeTheta =
    nested?.number('rope_theta', limits) ?? text.number('rope_theta', limits) ?? text.missing('rope_parameters.rope_theta');
  const share = { above: 0, max: 1 };
  const factor = nested?.number('partial_rotary_factor', share) ?? text.number('partial_rotary_factor', share) ?? 0.25;
  const rotaryDims = Math.floor(headDim * factor + 1e-6); // 0.7 * 10 is a little under 7
  if (rotaryDims < 2 || rotaryDims % 2 !== 0) {
    throw new EngineError(
      'format',
      `${text.where}: partial_rotary_factor ${factor} of head_dim ${headDim} gives ${rotaryDims} rotated dimensions; RoPE needs an even number of at least 2.`,
    );
  }
  return { rotaryDims, ropeTheta };
}

function readLayerTypes(text: JsonObject, layers: number): LayerType[] {
  const listed = text.array('layer_types', MAX.layers);
  if (!listed) {
    const interval = text.integer('full_attention_interval', { max: MAX.layers }) ?? 4;
    return Array.from({ length: layers }, (_, i) => ((i + 1) % interval === 0 ? 'full_attention' : 'linear_attention'));
  }
  if (listed.length !== layers) throw text.bad('layer_types', `a list of num_hidden_layers (${layers}) entries`);
  return listed.map((type, i) => {
    if (type === 'full_attention' || type === 'linear_attention') return type;
    const found = String(JSON.stringify(type)).slice(0, 80);
    throw new EngineError(
      'unsupported',
      `${text.where}: 'layer_types' entry ${i} is ${found}; Sluice runs "full_attention" and "linear_attention".`,
    );
  });
}

function readQuantization(root: JsonObject): Quantization | undefined {
  const own = root.object('quantization');
  const json = own ?? root.object('quantization_config');
  if (!json) return undefined;
  // Another toolkit's weights (fp8, gptq, awq, …) carry `quant_method` and no MLX entry.
  if (!own && json.value('quant_method') !== undefined) throw json.unsupported('quant_method', 'MLX affine quantisation');
  checkAffine(json);
  const defaults = readParams(json, undefined);
  const overrides = new Map<string, QuantizationParams | false>();
  for (const [path, value] of json.entries()) {
    if (value === false) overrides.set(path, false);
    else if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      const override = json.object(path)!;
      checkAffine(override);
      if (override.value('bits') === undefined && override.value('group_size') === undefined) continue; // a note, not parameters
      overrides.set(path, readParams(override, defaults));
    }
  }
  return { ...defaults, overrides };
}

function checkAffine(json: JsonObject): void {
  const mode = json.value('mode');
  if (mode !== undefined && mode !== 'affine') throw json.unsupported('mode', '"affine"');
}

function readParams(json: JsonObject, defaults: QuantizationParams | undefined): QuantizationParams {
  const bits = json.integer('bits', { max: 32 }) ?? defaults?.bits ?? json.missing('bits');
  if (!AFFINE_BITS.includes(bits)) throw json.bad('bits', `one of ${AFFINE_BITS.join(', ')}`);
  const groupSize = json.integer('group_size', { max: 1 << 16 }) ?? defaults?.groupSize ?? json.missing('group_size');
  return { bits, groupSize };
}

function checkDivides(text: JsonObject, key: string, value: number, byKey: string, by: number): void {
  if (value % by === 0) return;
  throw new EngineError('format', `${text.where}: '${key}' (${value}) must be a multiple of '${byKey}' (${by}).`);
}
