/** Checkpoints as CheckpointTensors and nothing else: shapes and places of tensors, with bytes made up where a test reads them. */
import type { CheckpointTensors, FloatDtype, MatrixSource, TensorInfo, VectorSource } from '../../src/format/types';
import { dtypeBytes } from '../../src/format/types';

export type MatrixKind =
  | { kind: 'float'; dtype: FloatDtype }
  | { kind: 'affine'; bits: number; groupSize: number; dtype: FloatDtype };

/** Sizes of a tiny model; `of` decides the format of each matrix by its number. */
export type TinyShapes = { layers: ('full_attention' | 'linear_attention')[]; hidden: number; rows: number; tied: boolean };

/** Tensors that lie nowhere yet: `place` gives each its file and offset. */
export function tinyCheckpoint(shapes: TinyShapes, kindOf: (matrix: number) => MatrixKind) {
  const tensors: TensorInfo[] = [];
  const tensor = (name: string, dtype: TensorInfo['dtype'], shape: number[]): TensorInfo => {
    const byteLength = shape.reduce((product, size) => product * size, dtypeBytes[dtype]);
    const info = { name, dtype, shape, file: '', byteOffset: 0, byteLength };
    tensors.push(info);
    return info;
  };
  let matrices = 0;
  const matrix = (name: string, rows: number, cols: number): MatrixSource => {
    const kind = kindOf(matrices++);
    const { dtype } = kind;
    if (kind.kind === 'float') return { kind: 'float', rows, cols, dtype, weight: tensor(`${name}.weight`, dtype, [rows, cols]) };
    const { bits, groupSize } = kind;
    const groups = [rows, cols / groupSize];
    return {
      kind: 'affine',
      rows,
      cols,
      bits,
      groupSize,
      weight: tensor(`${name}.weight`, 'U32', [rows, (cols * bits) / 32]),
      scales: tensor(`${name}.scales`, dtype, groups),
      biases: tensor(`${name}.biases`, dtype, groups),
    };
  };
  const vector = (name: string, length: number, dtype: FloatDtype = 'BF16'): VectorSource => ({
    length,
    tensor: tensor(name, dtype, [length]),
    add: 0,
  });
  const { hidden, rows } = shapes;
  const checkpoint: CheckpointTensors = {
    naming: 'mlx',
    embedTokens: matrix('embed_tokens', rows + 3, hidden),
    finalNorm: vector('norm', hidden),
    lmHead: shapes.tied ? undefined : matrix('lm_head', rows + 3, hidden),
    layers: shapes.layers.map((kind, i) => {
      const name = (end: string) => `layers.${i}.${end}`;
      const common = {
        inputNorm: vector(name('input_layernorm'), hidden),
        postAttentionNorm: vector(name('post_attention_layernorm'), hidden),
        mlp: {
          gateProj: matrix(name('mlp.gate_proj'), rows, hidden),
          upProj: matrix(name('mlp.up_proj'), rows, hidden),
          downProj: matrix(name('mlp.down_proj'), hidden, hidden),
        },
      };
      if (kind === 'full_attention') {
        return {
          kind,
          ...common,
          qProj: matrix(name('q_proj'), 2 * rows, hidden),
          kProj: matrix(name('k_proj'), 5, hidden),
          vProj: matrix(name('v_proj'), 5, hidden),
          oProj: matrix(name('o_proj'), hidden, hidden),
          qNorm: vector(name('q_norm'), 7),
          kNorm: vector(name('k_norm'), 7),
        };
      }
      return {
        kind,
        ...common,
        inProjQkv: matrix(name('in_proj_qkv'), rows, hidden),
        inProjZ: matrix(name('in_proj_z'), rows, hidden),
        inProjB: matrix(name('in_proj_b'), 3, hidden),
        inProjA: matrix(name('in_proj_a'), 3, hidden),
        outProj: matrix(name('out_proj'), hidden, hidden),
        conv1d: vector(name('conv1d'), 20),
        aLog: vector(name('A_log'), 3, 'F32'),
        dtBias: vector(name('dt_bias'), 3),
        norm: vector(name('norm'), 9),
      };
    }),
  };
  return { checkpoint, tensors };
}
