/** Shared shapes of the `format` room: what a checkpoint holds, as plain data with absolute byte positions. */

export type Dtype =
  | 'F64'
  | 'F32'
  | 'F16'
  | 'BF16'
  | 'I64'
  | 'I32'
  | 'I16'
  | 'I8'
  | 'U64'
  | 'U32'
  | 'U16'
  | 'U8'
  | 'BOOL'
  | 'F8_E4M3'
  | 'F8_E5M2'
  | 'F8_E8M0';

export const dtypeBytes: Record<Dtype, number> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  F8_E8M0: 1,
};

/** One tensor of a checkpoint. `byteOffset` is absolute in `file` and may be odd (MLX does not align). */
export type TensorInfo = {
  name: string;
  file: string;
  dtype: Dtype;
  shape: readonly number[];
  byteOffset: number;
  byteLength: number;
};

/** Every tensor of a checkpoint by its name, over all shards. */
export type TensorDirectory = ReadonlyMap<string, TensorInfo>;

/** Dtypes that a weight, a scale or a norm may be stored in. */
export type FloatDtype = 'BF16' | 'F16' | 'F32';

/**
 * A [rows, cols] weight matrix, y = W x.
 * affine: MLX groups, W[r, c] = scale * q + bias, each row one LSB-first stream of `bits`-bit q; scales and biases [rows, cols / groupSize].
 */
export type MatrixSource =
  | {
      kind: 'affine';
      rows: number;
      cols: number;
      bits: number;
      groupSize: number;
      weight: TensorInfo;
      scales: TensorInfo;
      biases: TensorInfo;
      runs?: RowRun[];
    }
  | { kind: 'float'; rows: number; cols: number; dtype: FloatDtype; weight: TensorInfo; runs?: RowRun[] };

/**
 * Rows of a matrix that lie together in its tensors, in the matrix's own order; `tensorRows` are the tensors' rows in all. Without
 * runs, a matrix is its tensors.
 */
export type RowRun = { firstRow: number; rows: number; tensorRows: number };

export type StorageDtype = 'bf16' | 'f16' | 'f32';
/** How the numbers of a matrix are stored, on disk and in GPU memory; `pair` is the type of a group's scale and bias. */
export type MatrixFormat =
  | { kind: 'affine'; bits: number; group: number; pair: StorageDtype }
  | { kind: 'float'; dtype: StorageDtype };

/** A small parameter that is expanded to f32 at load. `add`: 1 where the checkpoint stores a zero-centred norm weight (y = x * (1 + w)). */
export type VectorSource = { length: number; tensor: TensorInfo; add: 0 | 1 };

export type MlpTensors = { gateProj: MatrixSource; upProj: MatrixSource; downProj: MatrixSource };
/** What a mixture has beside the shared expert: the router, that expert's gate [1, hiddenSize], and the experts to choose from. */
export type MoeTensors = {
  count: number;
  router: MatrixSource;
  sharedGate: MatrixSource;
  /** Made when asked for: a large model has 30,720. */
  expert(index: number): MlpTensors;
};
/** `mlp`: of a mixture its shared expert. */
type LayerNorms = { inputNorm: VectorSource; postAttentionNorm: VectorSource; mlp: MlpTensors; moe?: MoeTensors };

export type AttentionLayerTensors = LayerNorms & {
  kind: 'full_attention';
  qProj: MatrixSource;
  kProj: MatrixSource;
  vProj: MatrixSource;
  oProj: MatrixSource;
  qNorm: VectorSource;
  kNorm: VectorSource;
};

export type DeltaNetLayerTensors = LayerNorms & {
  kind: 'linear_attention';
  inProjQkv: MatrixSource;
  inProjZ: MatrixSource;
  inProjB: MatrixSource;
  inProjA: MatrixSource;
  outProj: MatrixSource;
  /** [convDim * kernel], tap order oldest to newest within a channel. */
  conv1d: VectorSource;
  aLog: VectorSource;
  dtBias: VectorSource;
  norm: VectorSource;
};

export type LayerTensors = AttentionLayerTensors | DeltaNetLayerTensors;

/** A checkpoint with its names resolved; past this point nobody looks a tensor up by string. */
export type CheckpointTensors = {
  naming: 'original' | 'mlx';
  embedTokens: MatrixSource;
  finalNorm: VectorSource;
  /** undefined where the head is tied to the embedding. */
  lmHead: MatrixSource | undefined;
  layers: LayerTensors[];
};

export type LayerType = 'full_attention' | 'linear_attention';

export type QuantizationParams = { bits: number; groupSize: number };
/** `overrides`: full module path -> parameters, or false where the module is not quantised. */
export type Quantization = QuantizationParams & { overrides: ReadonlyMap<string, QuantizationParams | false> };

/** A mixture of experts in place of every MLP. */
export type MoeConfig = {
  experts: number;
  /** Experts that a token runs through, beside the shared one. */
  chosen: number;
  intermediateSize: number;
  sharedIntermediateSize: number;
  /** Whether the weights of the chosen experts sum to 1. */
  renormalised: boolean;
};

/** The published config keys in camelCase; sizes are element counts. */
export type ModelConfig = {
  architecture: 'qwen3_5';
  hiddenSize: number;
  /** Of the MLPs; with experts, of the shared one. */
  intermediateSize: number;
  numHiddenLayers: number;
  vocabSize: number;
  numAttentionHeads: number;
  numKeyValueHeads: number;
  headDim: number;
  /** Dimensions of a head that RoPE rotates: headDim * partial_rotary_factor. Even. */
  rotaryDims: number;
  ropeTheta: number;
  rmsNormEps: number;
  layerTypes: LayerType[];
  linearNumKeyHeads: number;
  linearNumValueHeads: number;
  linearKeyHeadDim: number;
  linearValueHeadDim: number;
  linearConvKernelDim: number;
  tieWordEmbeddings: boolean;
  maxPositionEmbeddings: number;
  eosTokenIds: number[];
  quantization: Quantization | undefined;
  /** undefined in dense models. */
  moe?: MoeConfig;
};
