/** From what was asked for to every file's name and bytes, checked by the code that reads checkpoints, before a byte is written. */
import { Random } from '../engine/random';
import { EngineError } from '../errors';
import { describeCheckpoint } from '../format/checkpoint';
import { parseConfig } from '../format/config';
import { layOutSafetensors } from '../format/safetensors_writer';
import { type CheckpointTensors, dtypeBytes, type ModelConfig, type QuantizationParams } from '../format/types';
import { type PresetName, presetShapes, regularLayerTypes, type SyntheticShapes } from './presets';
import { type Popularity, parameterCount, type SyntheticTensor, syntheticTensors, type WeightFormat } from './tensors';
import { configJson, generationConfigJson, type TokenizerFiles } from './texts';
import { SyntheticValues } from './values';

export const syntheticBits = [3, 4, 16] as const;

export type SyntheticModel = ({ preset: PresetName } | { shapes: SyntheticShapes }) & {
  /** 16: BF16, not quantised. */
  bits: (typeof syntheticBits)[number];
  /** Default 64. */
  groupSize?: number;
  /** The first n layers only, or more in the same pattern. */
  layers?: number;
  /** 0 to 2^31 - 1, default 0. Files are the same, byte for byte, for the same seed and model. */
  seed?: number;
  /** A shard ends before the tensor that would exceed this. Default 5 GiB, as MLX writes them. */
  shardBytes?: number;
  /** Tensors lie in each shard in no particular order, as MLX leaves them. Default: in the order of use. The values are the same. */
  shuffle?: boolean;
  /** 'original': the names and the zero-centred norms of the original repositories. Default 'mlx'. */
  naming?: WeightFormat['naming'];
  /** By the end of a module's path: `{ 'mlp.down_proj': { bits: 3, groupSize: 32 }, lm_head: false }`. */
  overrides?: Record<string, QuantizationParams | false>;
  /**
   * Of a mixture: how much more popular some experts are than others, as the deviation of what popularity adds to router logits that have
   * deviation 1. Default 0: all alike, the worst case for whoever keeps some of them. Quantised weights only.
   */
  skew?: number;
  /**
   * How much of that popularity goes with the subject of the text, a share from 0 to 1: each token of the vocabulary is of one of a few
   * subjects, the head stays with that of the token before, and each subject has popular experts of its own. Default 0: none.
   */
  locality?: number;
};

/** A weight file: `head`, then each tensor at its byte offset, without gaps. */
export type Shard = { file: string; head: Uint8Array; tensors: SyntheticTensor[]; bytes: number };

export type SyntheticLayout = {
  shapes: SyntheticShapes;
  parameters: number;
  /** Text files by name. */
  texts: Map<string, string>;
  shards: Shard[];
  values: SyntheticValues;
  /** Of all files. */
  bytes: number;
};

const defaultShardBytes = 5 * 2 ** 30;

export function syntheticShapes(model: SyntheticModel): SyntheticShapes {
  const shapes = 'preset' in model ? presetShapes(model.preset) : model.shapes;
  return model.layers === undefined ? shapes : { ...shapes, layerTypes: regularLayerTypes(model.layers) };
}

/** @throws EngineError of format/ where Sluice could not read such a checkpoint, 'invalid-request' for a seed out of range. */
export function layOutSynthetic(model: SyntheticModel, { files, endIds }: TokenizerFiles): SyntheticLayout {
  const shapes = syntheticShapes(model);
  const format = weightFormat(model);
  const popularity = popularityOf(model);
  const tensors = syntheticTensors(shapes, format, popularity);
  const config = configJson(shapes, format, tensors, endIds, popularity);
  const generation = generationConfigJson(endIds);
  describe(config, generation, tensors);
  const shards = layOutShards(tensors, format, model);
  const texts = new Map([...files, ['config.json', config], ['generation_config.json', generation]]);
  const parameters = parameterCount(tensors, format);
  texts.set('model.safetensors.index.json', indexJson(shards, tensors, parameters));
  const values = valuesOf(model, tensors);
  const textBytes = [...texts.values()].reduce((sum, text) => sum + new TextEncoder().encode(text).byteLength, 0);
  const bytes = shards.reduce((sum, shard) => sum + shard.bytes, textBytes);
  return { shapes, parameters, texts, shards, values, bytes };
}

/** A checkpoint without its files, every tensor in a file of its own by the tensor's name: for weights that are made where they lie. */
export type SyntheticDescription = {
  config: ModelConfig;
  tensors: CheckpointTensors;
  /** By name, in the order of use. */
  contents: ReadonlyMap<string, SyntheticTensor>;
  values: SyntheticValues;
};

/** @throws as layOutSynthetic. */
export function describeSynthetic(model: SyntheticModel): SyntheticDescription {
  const shapes = syntheticShapes(model);
  const format = weightFormat(model);
  const tensors = syntheticTensors(shapes, format);
  const endIds = [shapes.vocabSize - 1];
  const described = describe(configJson(shapes, format, tensors, endIds), generationConfigJson(endIds), tensors);
  return { ...described, contents: new Map(tensors.map((tensor) => [tensor.name, tensor])), values: valuesOf(model, tensors) };
}

/** MLX keeps what chooses among experts in 8 bits. */
const routers = { 'mlp.gate': { bits: 8, groupSize: 64 }, shared_expert_gate: { bits: 8, groupSize: 64 } };

/** @throws EngineError 'invalid-request' where nothing can lean. */
function popularityOf(model: SyntheticModel): Popularity | undefined {
  const { skew = 0, locality = 0, bits } = model;
  if (skew === 0 && locality === 0) return undefined;
  const { moe, tieWordEmbeddings } = syntheticShapes(model);
  if (!(skew > 0 && skew <= 10) || bits === 16 || !moe)
    throw new EngineError('invalid-request', 'A skew from 0 to 10 needs a mixture of experts with quantised weights.');
  if (!(locality >= 0 && locality <= 1) || (locality > 0 && tieWordEmbeddings))
    throw new EngineError('invalid-request', 'A locality from 0 to 1 is a share of the skew, in a model whose head is its own.');
  return { skew, locality };
}

function weightFormat(model: SyntheticModel): WeightFormat {
  const { bits, groupSize = 64, naming = 'mlx', overrides = {} } = model;
  const own = syntheticShapes(model).moe && bits !== 16 ? { ...overrides, ...routers } : overrides;
  return { naming, quantization: bits === 16 ? undefined : { bits, groupSize }, overrides: own };
}

/** @throws EngineError 'invalid-request' for a seed out of range. */
function valuesOf(model: SyntheticModel, tensors: readonly SyntheticTensor[]): SyntheticValues {
  const { seed = 0 } = model;
  if (!(Number.isInteger(seed) && seed >= 0 && seed < 2 ** 31)) {
    throw new EngineError('invalid-request', `The seed must be a whole number from 0 to ${2 ** 31 - 1}; it is ${seed}.`);
  }
  const { tieWordEmbeddings: tied } = syntheticShapes(model);
  return new SyntheticValues(tensors, { seed, naming: weightFormat(model).naming, tied });
}

/** @throws EngineError of format/ where Sluice could not read such a checkpoint. */
function describe(configText: string, generation: string, tensors: readonly SyntheticTensor[]) {
  const infos = tensors.map((tensor) => {
    const { name, dtype, shape } = tensor;
    return { name, dtype, shape, file: name, byteOffset: 0, byteLength: bytesOf(tensor) };
  });
  const config = parseConfig(configText, generation);
  return { config, tensors: describeCheckpoint(config, new Map(infos.map((info) => [info.name, info]))) };
}

function layOutShards(tensors: readonly SyntheticTensor[], { naming }: WeightFormat, model: SyntheticModel): Shard[] {
  const most = model.shardBytes ?? defaultShardBytes;
  const groups: SyntheticTensor[][] = [];
  let room = 0;
  for (const tensor of tensors) {
    const bytes = bytesOf(tensor);
    if (groups.length === 0 || bytes > room) {
      groups.push([]);
      room = most;
    }
    groups.at(-1)!.push(tensor);
    room -= bytes;
  }
  const random = new Random(model.seed ?? 0);
  return groups.map((group, i) => {
    if (model.shuffle) shuffle(group, random);
    const head = shardHead(group, naming);
    const bytes = group.reduce((sum, tensor) => sum + bytesOf(tensor), head.byteLength);
    return { file: shardName(i, groups.length), head, tensors: group, bytes };
  });
}

function shardName(index: number, count: number): string {
  const digits = (n: number) => String(n).padStart(5, '0');
  return count === 1 ? 'model.safetensors' : `model-${digits(index + 1)}-of-${digits(count)}.safetensors`;
}

function shuffle<T>(list: T[], random: Random): void {
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(random.next() * (i + 1));
    [list[i], list[j]] = [list[j]!, list[i]!];
  }
}

/** With metadata; MLX does not pad its headers, so that its tensors begin at odd offsets. */
function shardHead(tensors: readonly SyntheticTensor[], naming: WeightFormat['naming']): Uint8Array {
  const header = JSON.parse(new TextDecoder().decode(layOutSafetensors(tensors).head.subarray(8))) as object;
  const json = JSON.stringify({ __metadata__: { format: naming === 'mlx' ? 'mlx' : 'pt' }, ...header });
  const text = naming === 'mlx' ? json : json.padEnd(Math.ceil(json.length / 8) * 8);
  const head = new Uint8Array(8 + text.length); // names are ASCII
  new DataView(head.buffer).setBigUint64(0, BigInt(text.length), true);
  head.set(new TextEncoder().encode(text), 8);
  return head;
}

function indexJson(shards: readonly Shard[], tensors: readonly SyntheticTensor[], parameters: number): string {
  const entries = shards.flatMap(({ file, tensors }) => tensors.map(({ name }) => [name, file] as const));
  const weightMap = Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
  const totalSize = tensors.reduce((sum, tensor) => sum + bytesOf(tensor), 0);
  return JSON.stringify({ metadata: { total_size: totalSize, total_parameters: parameters }, weight_map: weightMap }, null, 2);
}

function bytesOf({ dtype, shape }: SyntheticTensor): number {
  return shape.reduce((product, size) => product * size, dtypeBytes[dtype]);
}
