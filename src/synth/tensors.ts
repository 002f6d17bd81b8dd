/**
 * Which tensors a synthetic checkpoint has, and how each one's values are drawn.
 *
 * Scales. Weights of a projection have standard deviation gain / sqrt(cols), so an input of RMS 1 gives an output of RMS gain.
 * Projections that read a norm's output have gain 1. The embedding and the head have gain `logitDeviation`, which makes the
 * residual stream start at RMS logitDeviation / sqrt(hiddenSize) (0.04 to 0.1, as trained models have it) and the logits end at that
 * deviation whatever the depth, since the final norm brings the stream back to RMS 1. The two branches of a layer each add
 * `branchShare / sqrt(2 layers)` of the stream's first RMS, so that all of them together double it at any depth and each one is
 * still seen in the logits.
 */
import type { Dtype, ModelConfig, MoeConfig, QuantizationParams } from '../format/types';
import type { SyntheticShapes } from './presets';

/** Standard deviation of the logits. */
const logitDeviation = 3;
/** RMS of what all branches add, in units of the embedding's. */
const branchShare = 2;
/** RMS of what goes into o_proj, out_proj and down_proj when every projection before has gain 1: silu(N(0, 1)) has 0.596. */
const branchInputRms = 0.58;

export type VectorKind = 'norm' | 'qkNorm' | 'finalNorm' | 'plainNorm' | 'conv' | 'aLog' | 'dtBias';

/**
 * Where the bytes come from. `q`: random words. `scales`, `biases`, `bf16`: the random stream of matrices with this standard
 * deviation; scales and biases of one matrix belong together, so both start at the same element. `vector`: drawn when written.
 */
export type Content =
  | { kind: 'q' }
  | { kind: 'scales'; bits: number; deviation: number }
  | { kind: 'biases'; bits: number; deviation: number; lean?: Lean }
  | { kind: 'bf16'; deviation: number }
  | { kind: 'vector'; of: VectorKind; index: number };

/**
 * What is added to a matrix along directions that are the same for all of a model: a common one, and one for each of the subjects that the
 * vocabulary falls into. An embedding that leans and routers that lean by chance make some experts of each layer popular: whatever the token,
 * or with the tokens of a subject. A head that leans by subject stays with the one that it was given.
 *
 * `rows`: 'tokens' lean by `common` and by `own` towards their subject; 'byChance' rows lean with deviation `common` and, in every subject's
 * direction, `own`.
 */
export type Lean = { rows: 'tokens' | 'byChance'; common: number; own: number; groupSize: number };

/** How popular some experts are: see SyntheticModel. */
export type Popularity = { skew: number; locality: number };

/** Subjects of a vocabulary; token t is of subject t modulo this. */
export const subjects = 8;
/** What being of the subject adds to a token's logit, logits having `logitDeviation`. */
const subjectLogit = 3;

export type SyntheticTensor = { name: string; dtype: Dtype; shape: number[]; content: Content };

/** `overrides`: the end of a module's path -> its own quantisation, or false for BF16. The first match counts. */
export type WeightFormat = {
  naming: 'mlx' | 'original';
  /** undefined: every matrix is BF16. */
  quantization: QuantizationParams | undefined;
  overrides: Record<string, QuantizationParams | false>;
};

/** In the order of use, embedding first. Without `popularity` all experts are alike. */
export function syntheticTensors(shapes: SyntheticShapes, format: WeightFormat, popularity?: Popularity): SyntheticTensor[] {
  return new TensorList(shapes, format, popularity).all();
}

/** Parameters of the model that the tensors stand for: a quantised weight counts once, its scales and biases do not. */
export function parameterCount(tensors: readonly SyntheticTensor[], format: WeightFormat): number {
  let count = 0;
  for (const { name, shape, content } of tensors) {
    if (content.kind === 'scales' || content.kind === 'biases') continue;
    const elements = shape.reduce((product, size) => product * size, 1);
    count += content.kind === 'q' ? (elements * 32) / quantizationOf(format, moduleOf(name))!.bits : elements;
  }
  return count;
}

function moduleOf(tensor: string): string {
  return tensor.slice(0, tensor.lastIndexOf('.'));
}

/** The quantisation of one module; undefined where it is BF16. */
export function quantizationOf({ quantization, overrides }: WeightFormat, module: string): QuantizationParams | undefined {
  const match = Object.keys(overrides).find((end) => module.endsWith(end));
  const own = match === undefined ? quantization : overrides[match];
  return own === false ? undefined : own;
}

class TensorList {
  readonly #shapes: SyntheticShapes;
  readonly #format: WeightFormat;
  readonly #popularity: Popularity | undefined;
  readonly #tensors: SyntheticTensor[] = [];

  constructor(shapes: SyntheticShapes, format: WeightFormat, popularity: Popularity | undefined) {
    this.#popularity = popularity;
    this.#shapes = shapes;
    this.#format = format;
  }

  all(): SyntheticTensor[] {
    const { hiddenSize, vocabSize, layerTypes, tieWordEmbeddings } = this.#shapes;
    const mlx = this.#format.naming === 'mlx';
    const model = this.#shapes.next ? 'model.' : mlx ? 'language_model.model.' : 'model.language_model.';
    // Half of the stream's first energy is common to all tokens; what layers add leaves it about half of the normed stream.
    const common = logitDeviation / Math.sqrt(hiddenSize);
    const popularity = this.#popularity;
    const locality = popularity?.locality ?? 0;
    this.#matrix(
      `${model}embed_tokens`,
      vocabSize,
      hiddenSize,
      logitDeviation,
      popularity && { rows: 'tokens', common: common * Math.sqrt(1 - locality), own: common * Math.sqrt(locality) },
    );
    for (const [i, type] of layerTypes.entries()) this.#layer(`${model}layers.${i}.`, type);
    this.#vector(`${model}norm.weight`, [hiddenSize], 'finalNorm');
    if (!tieWordEmbeddings)
      this.#matrix(
        mlx && !this.#shapes.next ? 'language_model.lm_head' : 'lm_head',
        vocabSize,
        hiddenSize,
        logitDeviation,
        locality > 0 ? { rows: 'tokens', common: 0, own: subjectLogit / (0.5 * hiddenSize * Math.sqrt(locality)) } : undefined,
      );
    return this.#tensors;
  }

  #layer(prefix: string, type: ModelConfig['layerTypes'][number]): void {
    const { hiddenSize, intermediateSize, layerTypes } = this.#shapes;
    const branch = (branchShare * logitDeviation) / Math.sqrt(hiddenSize * 2 * layerTypes.length) / branchInputRms;
    this.#vector(`${prefix}input_layernorm.weight`, [hiddenSize], 'norm');
    if (type === 'full_attention') this.#attention(`${prefix}self_attn.`, branch);
    else this.#deltaNet(`${prefix}linear_attn.`, branch);
    this.#vector(`${prefix}post_attention_layernorm.weight`, [hiddenSize], 'norm');
    const mlp = this.#shapes.moe ? `${prefix}mlp.shared_expert` : `${prefix}mlp`;
    if (this.#shapes.moe) this.#experts(`${prefix}mlp`, this.#shapes.moe, branch);
    const width = this.#shapes.moe?.sharedIntermediateSize ?? intermediateSize;
    this.#matrix(`${mlp}.gate_proj`, width, hiddenSize);
    this.#matrix(`${mlp}.up_proj`, width, hiddenSize);
    this.#matrix(`${mlp}.down_proj`, hiddenSize, width, branch);
  }

  /** A router of deviation 1 gives logits that make the chosen ones' weights differ by some factors, as trained ones do. */
  #experts(module: string, { experts, intermediateSize }: MoeConfig, branch: number): void {
    const { hiddenSize } = this.#shapes;
    const { skew, locality } = this.#popularity ?? { skew: 0, locality: 0 };
    const amount = skew / (0.5 * hiddenSize);
    const lean = { rows: 'byChance', common: amount, own: locality > 0 ? amount : 0 } as const;
    this.#matrix(`${module}.gate`, experts, hiddenSize, 1, skew > 0 ? lean : undefined);
    this.#matrix(`${module}.shared_expert_gate`, 1, hiddenSize);
    if (this.#format.naming === 'mlx') {
      this.#stack(`${module}.switch_mlp.gate_proj`, [experts, intermediateSize], hiddenSize);
      this.#stack(`${module}.switch_mlp.up_proj`, [experts, intermediateSize], hiddenSize);
      this.#stack(`${module}.switch_mlp.down_proj`, [experts, hiddenSize], intermediateSize, branch);
    } else if (this.#shapes.next) {
      for (let i = 0; i < experts; i++) {
        this.#matrix(`${module}.experts.${i}.gate_proj`, intermediateSize, hiddenSize);
        this.#matrix(`${module}.experts.${i}.up_proj`, intermediateSize, hiddenSize);
        this.#matrix(`${module}.experts.${i}.down_proj`, hiddenSize, intermediateSize, branch);
      }
    } else {
      this.#stack(`${module}.experts.gate_up_proj`, [experts, 2 * intermediateSize], hiddenSize, 1, '');
      this.#stack(`${module}.experts.down_proj`, [experts, hiddenSize], intermediateSize, branch, '');
    }
  }

  #attention(prefix: string, branch: number): void {
    const { hiddenSize, headDim, numAttentionHeads, numKeyValueHeads } = this.#shapes;
    this.#matrix(`${prefix}q_proj`, numAttentionHeads * headDim * 2, hiddenSize);
    this.#matrix(`${prefix}k_proj`, numKeyValueHeads * headDim, hiddenSize);
    this.#matrix(`${prefix}v_proj`, numKeyValueHeads * headDim, hiddenSize);
    this.#vector(`${prefix}q_norm.weight`, [headDim], 'qkNorm');
    this.#vector(`${prefix}k_norm.weight`, [headDim], 'qkNorm');
    this.#matrix(`${prefix}o_proj`, hiddenSize, numAttentionHeads * headDim, branch);
  }

  #deltaNet(prefix: string, branch: number): void {
    const { hiddenSize, linearNumKeyHeads, linearKeyHeadDim, linearNumValueHeads, linearValueHeadDim } = this.#shapes;
    const valueDim = linearNumValueHeads * linearValueHeadDim;
    const convDim = 2 * linearNumKeyHeads * linearKeyHeadDim + valueDim;
    if (this.#shapes.next) {
      this.#matrix(`${prefix}in_proj_qkvz`, convDim + valueDim, hiddenSize);
      this.#matrix(`${prefix}in_proj_ba`, 2 * linearNumValueHeads, hiddenSize);
    } else {
      this.#matrix(`${prefix}in_proj_qkv`, convDim, hiddenSize);
      this.#matrix(`${prefix}in_proj_z`, valueDim, hiddenSize);
      this.#matrix(`${prefix}in_proj_b`, linearNumValueHeads, hiddenSize);
      this.#matrix(`${prefix}in_proj_a`, linearNumValueHeads, hiddenSize);
    }
    this.#vector(`${prefix}conv1d.weight`, this.#format.naming === 'mlx' ? [convDim, 4, 1] : [convDim, 1, 4], 'conv');
    this.#vector(`${prefix}A_log`, [linearNumValueHeads], 'aLog', 'F32');
    this.#vector(`${prefix}dt_bias`, [linearNumValueHeads], 'dtBias');
    this.#vector(`${prefix}norm.weight`, [linearValueHeadDim], 'plainNorm');
    this.#matrix(`${prefix}out_proj`, hiddenSize, valueDim, branch);
  }

  /** [rows, cols] with standard deviation gain / sqrt(cols). */
  #matrix(module: string, rows: number, cols: number, gain = 1, lean?: Omit<Lean, 'groupSize'>): void {
    this.#stack(module, [rows], cols, gain, '.weight', lean);
  }

  /** Several such matrices in one tensor. `weight`: what the name of an unquantised one ends with. */
  #stack(
    module: string,
    rows: readonly number[],
    cols: number,
    gain = 1,
    weight = '.weight',
    lean?: Omit<Lean, 'groupSize'>,
  ): void {
    const deviation = gain / Math.sqrt(cols);
    const quantization = quantizationOf(this.#format, module);
    if (!quantization) {
      this.#tensors.push({
        name: `${module}${weight}`,
        dtype: 'BF16',
        shape: [...rows, cols],
        content: { kind: 'bf16', deviation },
      });
      return;
    }
    const { bits, groupSize } = quantization;
    const groups = [...rows, cols / groupSize];
    this.#tensors.push(
      { name: `${module}.weight`, dtype: 'U32', shape: [...rows, (cols * bits) / 32], content: { kind: 'q' } },
      { name: `${module}.scales`, dtype: 'BF16', shape: groups, content: { kind: 'scales', bits, deviation } },
      {
        name: `${module}.biases`,
        dtype: 'BF16',
        shape: groups,
        content: { kind: 'biases', bits, deviation, ...(lean ? { lean: { ...lean, groupSize } } : {}) },
      },
    );
  }

  #vector(name: string, shape: number[], of: VectorKind, dtype: Dtype = 'BF16'): void {
    this.#tensors.push({ name, dtype, shape, content: { kind: 'vector', of, index: this.#tensors.length } });
  }
}
