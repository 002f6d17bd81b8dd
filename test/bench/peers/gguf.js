/**
 * A GGUF file of the `qwen35` architecture in the shapes of a Sluice preset: the same matrices with random values, all of them Q4_0
 * (4 bits and an f16 scale for 32 values, which makes 4.5 as Sluice's do), and a vocabulary of made-up words.
 */
import { randomBytes } from './random.js';

const valueKinds = { u32: 4, i32: 5, f32: 6, text: 8, array: 9 };
const tensorKinds = { f32: 0, q4_0: 2 };
const tokenKinds = { normal: 1, unknown: 2, control: 3, byte: 6 };
const alignment = 32;
const q4 = { values: 32, bytes: 18 };
const aligned = (bytes) => Math.ceil(bytes / alignment) * alignment;

/** Little-endian, as GGUF is. */
class Writer {
  parts = [];
  #encoder = new TextEncoder();

  #number(bytes, method, value) {
    const view = new DataView(new ArrayBuffer(bytes));
    view[method](0, value, true);
    this.parts.push(view.buffer);
  }
  u32 = (value) => this.#number(4, 'setUint32', value);
  i32 = (value) => this.#number(4, 'setInt32', value);
  f32 = (value) => this.#number(4, 'setFloat32', value);
  u64 = (value) => this.#number(8, 'setBigUint64', BigInt(value));
  text = (value) => {
    const bytes = this.#encoder.encode(value);
    this.u64(bytes.length);
    this.parts.push(bytes);
  };
  array = ([kind, values]) => {
    this.u32(valueKinds[kind]);
    this.u64(values.length);
    for (const value of values) this[kind](value);
  };
}

/** `shapes`: of src/synth/presets.ts. `weightBytes`: of the matrices that a decoded token reads. */
export function ggufModel(shapes) {
  const tensors = tensorsOf(shapes);
  const metadata = metadataOf(shapes);
  const writer = new Writer();
  writer.u32(0x46554747);
  writer.u32(3);
  writer.u64(tensors.length);
  writer.u64(metadata.length);
  for (const [key, kind, value] of metadata) {
    writer.text(key);
    writer.u32(valueKinds[kind]);
    writer[kind](value);
  }
  let offset = 0;
  for (const { name, dims, kind, bytes } of tensors) {
    writer.text(name);
    writer.u32(dims.length);
    for (const size of dims) writer.u64(size);
    writer.u32(tensorKinds[kind]);
    writer.u64(offset);
    offset += aligned(bytes);
  }
  const head = new Blob(writer.parts);
  const padding = new Uint8Array(aligned(head.size) - head.size);
  const pool = randomQ4(shapes.hiddenSize);
  const read = tensors.filter(({ name, kind }) => kind === 'q4_0' && (shapes.tieWordEmbeddings || name !== 'token_embd.weight'));
  return {
    file: new Blob([head, padding, ...tensors.flatMap((tensor) => contentOf(tensor, pool))]),
    weightBytes: read.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

function metadataOf(shapes) {
  const { headDim, layerTypes, linearNumValueHeads, linearValueHeadDim } = shapes;
  const rotated = headDim / 4;
  const own = [
    ['block_count', layerTypes.length],
    ['context_length', 32768],
    ['embedding_length', shapes.hiddenSize],
    ['feed_forward_length', shapes.intermediateSize],
    ['attention.head_count', shapes.numAttentionHeads],
    ['attention.head_count_kv', shapes.numKeyValueHeads],
    ['attention.key_length', headDim],
    ['attention.value_length', headDim],
    ['rope.dimension_count', rotated],
    ['full_attention_interval', layerTypes.indexOf('full_attention') + 1],
    ['ssm.conv_kernel', 4],
    ['ssm.state_size', shapes.linearKeyHeadDim],
    ['ssm.group_count', shapes.linearNumKeyHeads],
    ['ssm.time_step_rank', linearNumValueHeads],
    ['ssm.inner_size', linearNumValueHeads * linearValueHeadDim],
  ].map(([key, value]) => [`qwen35.${key}`, 'u32', value]);
  const third = Math.floor(rotated / 6);
  return [
    ['general.architecture', 'text', 'qwen35'],
    ...own,
    ['qwen35.attention.layer_norm_rms_epsilon', 'f32', 1e-6],
    ['qwen35.rope.freq_base', 'f32', 1e7],
    ['qwen35.rope.dimension_sections', 'array', ['i32', [rotated / 2 - 2 * third, third, third, 0]]],
    ...tokenizerOf(shapes.vocabSize),
  ];
}

/**
 * ASCII's bytes are tokens, and words fill the rest: text of n letters makes about n tokens, and whatever is drawn is valid UTF-8,
 * without which wllama's answer is an error.
 */
function tokenizerOf(vocabSize) {
  const bytes = Array.from({ length: 128 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  const special = ['<unk>', '<s>', '</s>'];
  const words = ['\u2581', ...Array.from({ length: vocabSize - bytes.length - special.length - 1 }, (_, i) => `\u2581w${i}`)];
  const { normal, unknown, control, byte } = tokenKinds;
  const kinds = [unknown, control, control, ...bytes.map(() => byte), ...words.map(() => normal)];
  return [
    ['tokenizer.ggml.model', 'text', 'llama'],
    ['tokenizer.ggml.tokens', 'array', ['text', [...special, ...bytes, ...words]]],
    ['tokenizer.ggml.scores', 'array', ['f32', kinds.map((_, i) => -i)]],
    ['tokenizer.ggml.token_type', 'array', ['i32', kinds]],
    ['tokenizer.ggml.bos_token_id', 'u32', 1],
    ['tokenizer.ggml.eos_token_id', 'u32', 2],
  ];
}

function tensorsOf(shapes) {
  const { hiddenSize: hidden, intermediateSize: inner, headDim, numAttentionHeads: heads, numKeyValueHeads: kvHeads } = shapes;
  const { linearNumValueHeads: valueHeads, linearValueHeadDim: valueDim } = shapes;
  const values = valueHeads * valueDim;
  const convolved = values + 2 * shapes.linearNumKeyHeads * shapes.linearKeyHeadDim;
  const matrix = (name, cols, rows) => {
    return { name: `${name}.weight`, dims: [cols, rows], kind: 'q4_0', bytes: (cols * rows * q4.bytes) / q4.values };
  };
  const vector = (name, dims, value) => {
    return { name, dims, kind: 'f32', value, bytes: 4 * dims.reduce((product, size) => product * size, 1) };
  };
  const norm = (name, size) => vector(`${name}.weight`, [size], 1);
  const layer = (type, i) => {
    const at = `blk.${i}`;
    const mixer =
      type === 'full_attention'
        ? [
            matrix(`${at}.attn_q`, hidden, 2 * heads * headDim), // with the output's gate
            matrix(`${at}.attn_k`, hidden, kvHeads * headDim),
            matrix(`${at}.attn_v`, hidden, kvHeads * headDim),
            matrix(`${at}.attn_output`, heads * headDim, hidden),
            norm(`${at}.attn_q_norm`, headDim),
            norm(`${at}.attn_k_norm`, headDim),
          ]
        : [
            matrix(`${at}.attn_qkv`, hidden, convolved),
            matrix(`${at}.attn_gate`, hidden, values),
            matrix(`${at}.ssm_alpha`, hidden, valueHeads),
            matrix(`${at}.ssm_beta`, hidden, valueHeads),
            matrix(`${at}.ssm_out`, values, hidden),
            vector(`${at}.ssm_conv1d.weight`, [4, convolved], 0.5),
            vector(`${at}.ssm_dt.bias`, [valueHeads], 0),
            vector(`${at}.ssm_a`, [valueHeads], -0.5),
            norm(`${at}.ssm_norm`, valueDim),
          ];
    return [
      norm(`${at}.attn_norm`, hidden),
      ...mixer,
      norm(`${at}.post_attention_norm`, hidden),
      matrix(`${at}.ffn_gate`, hidden, inner),
      matrix(`${at}.ffn_up`, hidden, inner),
      matrix(`${at}.ffn_down`, inner, hidden),
    ];
  };
  return [
    matrix('token_embd', hidden, shapes.vocabSize),
    ...shapes.layerTypes.flatMap(layer),
    norm('output_norm', hidden),
    ...(shapes.tieWordEmbeddings ? [] : [matrix('output', hidden, shapes.vocabSize)]),
  ];
}

/** Random blocks, of which tensors take as many as they need, over and over: their values need not differ, their places do. */
function randomQ4(hidden) {
  const blocks = 2 ** 18;
  const pool = randomBytes(blocks * q4.bytes, 1);
  const view = new DataView(pool.buffer);
  const scale = halfFloat(1 / (4.6 * Math.sqrt(hidden)));
  for (let i = 0; i < blocks; i++) view.setUint16(i * q4.bytes, scale, true);
  return pool;
}

/** The bits of a normal f16, rounded towards zero. */
function halfFloat(value) {
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0];
  return (((bits >>> 23) - 127 + 15) << 10) | ((bits >>> 13) & 0x3ff);
}

function contentOf({ kind, bytes, value }, pool) {
  const padding = new Uint8Array(aligned(bytes) - bytes);
  if (kind === 'f32') return [new Float32Array(bytes / 4).fill(value), padding];
  const parts = [];
  for (let left = bytes; left > 0; left -= pool.length) parts.push(pool.subarray(0, Math.min(left, pool.length)));
  return [...parts, padding];
}
