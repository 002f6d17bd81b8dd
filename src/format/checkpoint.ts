/**
 * Names -> fields. One place knows how checkpoints spell things: the original repositories (`model.language_model.…`, norm
 * weights zero-centred), MLX conversions (`language_model.model.…`, norms stored as the final multiplier) and text-only
 * exports of either (`model.…`). Sources: qwen3_5 in transformers and in mlx-lm (its `sanitize`).
 */
import { EngineError } from '../errors';
import { describeGroupedProjections } from './grouped_projections';
import { describeMoe } from './moe';
import { describeMatrix, describeVector, type Lookup, shapeError } from './parameters';
import type { CheckpointTensors, LayerTensors, ModelConfig, TensorDirectory, TensorInfo, VectorSource } from './types';

/** Prefix of the decoder's tensors and name of the head, most specific first. */
const PREFIXES = [
  { model: 'language_model.model.', head: 'language_model.lm_head', naming: 'mlx' },
  { model: 'model.language_model.', head: 'lm_head', naming: 'original' },
  { model: 'model.', head: 'lm_head', naming: 'original' },
] as const;

/** True for the vision tower and the multi-token-prediction layer, which text decoding does not read. */
export function isSkippedTensor(name: string): boolean {
  return /^((model|language_model)\.)*(visual|vision_tower|vision_model|mtp)\./.test(name);
}

/**
 * Binds every parameter of the model to its bytes. `naming` tells the weight convention: 'mlx' where norms hold 1 + w.
 * @throws EngineError 'format' naming the tensor (and both shapes) if one is missing or has another shape or dtype;
 *   'unsupported' for a bit width, group size or row length that no kernel reads.
 */
export function describeCheckpoint(config: ModelConfig, directory: TensorDirectory): CheckpointTensors {
  const names = PREFIXES.find(({ model }) => directory.has(`${model}embed_tokens.weight`));
  if (!names) {
    const tried = PREFIXES.map(({ model }) => `${model}embed_tokens.weight`).join(', ');
    throw new EngineError('format', `The checkpoint has no token embedding; looked for ${tried}.`);
  }
  const convs = readConvLayouts(config, directory, names.model);
  const naming = convs ?? names.naming;
  const add = naming === 'original' ? 1 : 0;
  const lookup: Lookup = { directory, quantization: config.quantization, prefixes: PREFIXES.map(({ model }) => model) };

  const { hiddenSize, vocabSize } = config;
  const extra = `${names.model}layers.${config.numHiddenLayers}.input_layernorm.weight`;
  if (directory.has(extra)) {
    throw new EngineError(
      'format',
      `The checkpoint has ${extra}, but config.json says num_hidden_layers is ${config.numHiddenLayers}.`,
    );
  }
  return {
    naming,
    embedTokens: describeMatrix(lookup, `${names.model}embed_tokens`, vocabSize, hiddenSize),
    finalNorm: describeVector(lookup, `${names.model}norm.weight`, [hiddenSize], add),
    lmHead: config.tieWordEmbeddings ? undefined : describeMatrix(lookup, names.head, vocabSize, hiddenSize),
    layers: config.layerTypes.map((_, i) => describeLayer(config, lookup, `${names.model}layers.${i}.`, i, add)),
  };
}

function describeLayer(config: ModelConfig, lookup: Lookup, prefix: string, index: number, add: 0 | 1): LayerTensors {
  const { hiddenSize, intermediateSize, headDim, numAttentionHeads: heads, numKeyValueHeads: kvHeads } = config;
  const matrix = (name: string, rows: number, cols: number) => describeMatrix(lookup, prefix + name, rows, cols);
  const norm = (name: string, length: number) => describeVector(lookup, `${prefix}${name}.weight`, [length], add);
  const plain = (name: string, shape: number[]) => describeVector(lookup, prefix + name, shape, 0);
  const mlp = config.moe ? 'mlp.shared_expert' : 'mlp';
  const common = {
    inputNorm: norm('input_layernorm', hiddenSize),
    postAttentionNorm: norm('post_attention_layernorm', hiddenSize),
    mlp: {
      gateProj: matrix(`${mlp}.gate_proj`, intermediateSize, hiddenSize),
      upProj: matrix(`${mlp}.up_proj`, intermediateSize, hiddenSize),
      downProj: matrix(`${mlp}.down_proj`, hiddenSize, intermediateSize),
    },
    ...(config.moe ? { moe: describeMoe(lookup, `${prefix}mlp`, hiddenSize, config.moe) } : {}),
  };
  if (config.layerTypes[index] === 'full_attention') {
    return {
      kind: 'full_attention',
      ...common,
      qProj: matrix('self_attn.q_proj', heads * headDim * 2, hiddenSize), // per head: query rows, then gate rows
      kProj: matrix('self_attn.k_proj', kvHeads * headDim, hiddenSize),
      vProj: matrix('self_attn.v_proj', kvHeads * headDim, hiddenSize),
      oProj: matrix('self_attn.o_proj', hiddenSize, heads * headDim),
      qNorm: norm('self_attn.q_norm', headDim),
      kNorm: norm('self_attn.k_norm', headDim),
    };
  }
  const valueHeads = config.linearNumValueHeads;
  const valueDim = valueHeads * config.linearValueHeadDim;
  const convDim = linearConvDim(config);
  return {
    kind: 'linear_attention',
    ...common,
    ...(describeGroupedProjections(lookup, `${prefix}linear_attn`, config) ?? {
      inProjQkv: matrix('linear_attn.in_proj_qkv', convDim, hiddenSize),
      inProjZ: matrix('linear_attn.in_proj_z', valueDim, hiddenSize),
      inProjB: matrix('linear_attn.in_proj_b', valueHeads, hiddenSize),
      inProjA: matrix('linear_attn.in_proj_a', valueHeads, hiddenSize),
    }),
    outProj: matrix('linear_attn.out_proj', hiddenSize, valueDim),
    conv1d: describeConv(lookup, prefix, convDim, config.linearConvKernelDim),
    aLog: plain('linear_attn.A_log', [valueHeads]),
    dtBias: plain('linear_attn.dt_bias', [valueHeads]),
    norm: plain('linear_attn.norm.weight', [config.linearValueHeadDim]), // a plain weight in both conventions
  };
}

function linearConvDim(config: ModelConfig): number {
  return 2 * config.linearNumKeyHeads * config.linearKeyHeadDim + config.linearNumValueHeads * config.linearValueHeadDim;
}

/** [C, 1, K] and [C, K, 1] are the same bytes: one channel's taps, oldest first. */
function describeConv(lookup: Lookup, prefix: string, channels: number, kernel: number): VectorSource {
  const name = `${prefix}linear_attn.conv1d.weight`;
  const converted = convNaming(lookup.directory.get(name), kernel) === 'mlx';
  return describeVector(lookup, name, converted ? [channels, kernel, 1] : [channels, 1, kernel], 0);
}

/**
 * MLX swaps the last two axes of conv1d when, and only when, it adds 1 to the norms, so the layout is the surest mark of the
 * convention: repositories rename tensors, but the shape travels with the bytes. undefined without a linear layer.
 */
function readConvLayouts(
  config: ModelConfig,
  directory: TensorDirectory,
  prefix: string,
): CheckpointTensors['naming'] | undefined {
  let first: { naming: CheckpointTensors['naming']; tensor: TensorInfo } | undefined;
  for (const [i, type] of config.layerTypes.entries()) {
    const tensor = type === 'linear_attention' ? directory.get(`${prefix}layers.${i}.linear_attn.conv1d.weight`) : undefined;
    if (!tensor) continue; // describeVector reports a missing one
    const naming = convNaming(tensor, config.linearConvKernelDim);
    if (!naming) throw shapeError(tensor, [linearConvDim(config), 1, config.linearConvKernelDim]);
    if (first && first.naming !== naming) {
      throw new EngineError(
        'format',
        `${tensor.name} is [${tensor.shape.join(', ')}] but ${first.tensor.name} is [${first.tensor.shape.join(', ')}]: ` +
          `the checkpoint mixes original and MLX layers, so its norm weights cannot be told apart. Convert it again.`,
      );
    }
    first ??= { naming, tensor };
  }
  return first?.naming;
}

function convNaming(tensor: TensorInfo | undefined, kernel: number): CheckpointTensors['naming'] | undefined {
  if (tensor?.shape.length !== 3) return undefined;
  if (tensor.shape[1] === 1 && tensor.shape[2] === kernel) return 'original';
  return tensor.shape[1] === kernel && tensor.shape[2] === 1 ? 'mlx' : undefined;
}
