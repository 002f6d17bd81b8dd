/** The text files of a synthetic checkpoint: config, generation defaults, tokenizer and chat template. */
import { byteLevelTokenBytes } from '../text/token_bytes';
import type { SyntheticShapes } from './presets';
import { type Popularity, quantizationOf, type SyntheticTensor, type WeightFormat } from './tensors';

/** Files by name, and the ids that end a reply, the end of a turn first. */
export type TokenizerFiles = { files: Map<string, string>; endIds: number[] };

/** The added tokens of Qwen3.5, whose ids follow the last word. Those in `plain` become text. */
const firstAddedId = 248_044;
const added =
  '<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|> <|quad_start|> <|quad_end|> ' +
  '<|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|> <tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> ' +
  '<|fim_suffix|> <|fim_pad|> <|repo_name|> <|file_sep|> <tool_response> </tool_response> <think> </think> <|audio_start|> ' +
  '<|audio_end|> <tts_pad> <tts_text_bos> <tts_text_eod> <tts_text_bos_single> <|audio_pad|>';
const plain = /^<\/?(tool_call|tool_response|think)>$|fim_|repo_name|file_sep/;

const chatTemplate =
  "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endfor %}" +
  "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}";

/** Of config.json: how popular experts are, for whoever measures with them. Other readers ignore it. */
export const popularityKey = 'synthetic_routing';

export function configJson(
  shapes: SyntheticShapes,
  format: WeightFormat,
  tensors: readonly SyntheticTensor[],
  endIds: readonly number[],
  popularity: Popularity = { skew: 0, locality: 0 },
): string {
  const quantization = quantizationJson(format, tensors);
  return JSON.stringify(
    {
      ...(shapes.next
        ? { architectures: ['Qwen3NextForCausalLM'], ...textConfig(shapes, endIds) }
        : { architectures: [shapes.moe ? 'Qwen3_5MoeForConditionalGeneration' : 'Qwen3_5ForConditionalGeneration'] }),
      ...(shapes.next ? {} : { model_type: shapes.moe ? 'qwen3_5_moe' : 'qwen3_5' }),
      tie_word_embeddings: shapes.tieWordEmbeddings,
      ...(quantization ? { quantization, quantization_config: quantization } : {}),
      ...(shapes.next ? {} : { text_config: textConfig(shapes, endIds) }),
      ...(shapes.moe ? { [popularityKey]: popularity } : {}),
    },
    null,
    2,
  );
}

function textConfig(shapes: SyntheticShapes, endIds: readonly number[]): object {
  return {
    model_type: shapes.next ? 'qwen3_next' : shapes.moe ? 'qwen3_5_moe_text' : 'qwen3_5_text',
    ...moeConfig(shapes),
    attention_bias: false,
    attention_dropout: 0.0,
    attn_output_gate: true,
    dtype: 'bfloat16',
    eos_token_id: endIds.at(-1),
    full_attention_interval: 4,
    head_dim: shapes.headDim,
    hidden_act: 'silu',
    hidden_size: shapes.hiddenSize,
    initializer_range: 0.02,
    layer_types: shapes.layerTypes,
    linear_conv_kernel_dim: 4,
    linear_key_head_dim: shapes.linearKeyHeadDim,
    linear_num_key_heads: shapes.linearNumKeyHeads,
    linear_num_value_heads: shapes.linearNumValueHeads,
    linear_value_head_dim: shapes.linearValueHeadDim,
    mamba_ssm_dtype: 'float32',
    max_position_embeddings: 262_144,
    mlp_only_layers: [],
    num_attention_heads: shapes.numAttentionHeads,
    num_hidden_layers: shapes.layerTypes.length,
    num_key_value_heads: shapes.numKeyValueHeads,
    rms_norm_eps: 1e-6,
    rope_parameters: {
      mrope_interleaved: true,
      mrope_section: mropeSection(shapes.headDim),
      rope_type: 'default',
      rope_theta: 10_000_000,
      partial_rotary_factor: 0.25,
    },
    tie_word_embeddings: shapes.tieWordEmbeddings,
    use_cache: true,
    vocab_size: shapes.vocabSize,
  };
}

function moeConfig({ moe, intermediateSize, next }: SyntheticShapes): object {
  if (!moe) return { intermediate_size: intermediateSize };
  return {
    ...(next ? { norm_topk_prob: moe.renormalised, decoder_sparse_step: 1, intermediate_size: 5120 } : {}),
    moe_intermediate_size: moe.intermediateSize,
    num_experts: moe.experts,
    num_experts_per_tok: moe.chosen,
    shared_expert_intermediate_size: moe.sharedIntermediateSize,
  };
}

/** Frequencies for time, height and width; 11, 11 and 10 for heads of 256. */
function mropeSection(headDim: number): number[] {
  const frequencies = Math.floor(headDim / 8);
  return [Math.ceil(frequencies / 3), Math.ceil((frequencies - 1) / 3), Math.ceil((frequencies - 2) / 3)];
}

/** The defaults, and an entry for every module that departs from them. */
function quantizationJson(format: WeightFormat, tensors: readonly SyntheticTensor[]): object | undefined {
  const json = ({ bits, groupSize }: { bits: number; groupSize: number }) => ({ group_size: groupSize, bits, mode: 'affine' });
  const own = Object.entries(format.overrides).flatMap(([end, params]) =>
    tensors
      .filter(({ name, shape }) => shape.length === 2 && name.endsWith(`${end}.weight`))
      .map(({ name }) => [name.slice(0, -'.weight'.length), params === false ? false : json(params)] as const)
      .filter(([module]) => quantizationOf(format, module) === (params === false ? undefined : params)),
  );
  const first = format.quantization ?? Object.values(format.overrides).find((params) => params !== false);
  return first ? { ...json(first), ...Object.fromEntries(own) } : undefined;
}

export function generationConfigJson(endIds: readonly number[]): string {
  const ids = { bos_token_id: endIds.at(-1), eos_token_id: endIds, pad_token_id: endIds.at(-1) };
  return JSON.stringify({ ...ids, do_sample: true, temperature: 1.0, top_k: 20, top_p: 0.95 }, null, 2);
}

/**
 * A tokenizer made for `vocabSize`: every id decodes to text, every text encodes (byte by byte, as there are no merges). A full-sized
 * vocabulary has Qwen3.5's added tokens at their own ids. None for fewer ids than 256 bytes and three added tokens.
 */
export function madeTokenizer(vocabSize: number): TokenizerFiles {
  const names = added.split(' ');
  const full = vocabSize >= firstAddedId + names.length;
  if (!full) names.length = 3;
  const firstAdded = full ? firstAddedId : vocabSize - names.length;
  if (firstAdded < 256) return { files: new Map(), endIds: [vocabSize - 1] };
  const addedTokens = names.map((content, i) => ({ id: firstAdded + i, content, ...addedFlags, special: !plain.test(content) }));
  const model = { type: 'BPE', ignore_merges: false, vocab: vocabulary(firstAdded), merges: [] };
  const tokenizer = { version: '1.0', added_tokens: addedTokens, ...pipeline, model };
  const config = { tokenizer_class: 'Qwen2Tokenizer', bos_token: null, eos_token: '<|im_end|>', pad_token: '<|endoftext|>' };
  return {
    files: new Map([
      ['tokenizer.json', JSON.stringify(tokenizer)],
      [
        'tokenizer_config.json',
        JSON.stringify({ ...config, add_bos_token: false, clean_up_tokenization_spaces: false }, null, 2),
      ],
      ['chat_template.jinja', chatTemplate],
    ]),
    endIds: [firstAdded + 2, firstAdded],
  };
}

const addedFlags = { single_word: false, lstrip: false, rstrip: false, normalized: false };
const pipeline = {
  normalizer: null,
  pre_tokenizer: {
    type: 'Sequence',
    pretokenizers: [
      {
        type: 'Split',
        pattern: { Regex: '[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+|\\s+' },
        behavior: 'Isolated',
        invert: false,
      },
      { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
    ],
  },
  post_processor: null,
  decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
};

/** The 256 bytes, then words of three syllables with a space before them. */
function vocabulary(size: number): Record<string, number> {
  const vocab: Record<string, number> = {};
  for (let code = 0x21; code <= 0x143; code++) {
    const bytes = byteLevelTokenBytes(String.fromCharCode(code));
    if (bytes.length === 1) vocab[String.fromCharCode(code)] = bytes[0]!;
  }
  const syllable = (i: number) => 'bdfghjklmnprstvz'[i % 16]! + 'aeiou'[Math.floor(i / 16) % 5]!;
  for (let id = 256; id < size; id++) {
    vocab[`Ġ${syllable(id)}${syllable(Math.floor(id / 80))}${syllable(Math.floor(id / 6400))}`] = id;
  }
  return vocab;
}
