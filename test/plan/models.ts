/** Checkpoints as a planner sees them, and their bytes where a test reads them: synthetic ones that lie nowhere. */
import { describeCheckpoint } from '../../src/format/checkpoint';
import { parseConfig } from '../../src/format/config';
import { parseSafetensorsHeader } from '../../src/format/safetensors';
import type { CheckpointTensors, ModelConfig, TensorInfo } from '../../src/format/types';
import { memorySource } from '../../src/storage/memory';
import type { Sources } from '../../src/stream/fill';
import { layOutSynthetic, type SyntheticModel } from '../../src/synth/layout';

export type PlannedModel = {
  config: ModelConfig;
  tensors: CheckpointTensors;
  infos: TensorInfo[];
  /** Makes the files: as large as the model. */
  sources(): Sources;
};

export function plannedModel(model: SyntheticModel): PlannedModel {
  const { texts, shards, values } = layOutSynthetic(model, { files: new Map(), endIds: [1] });
  const config = parseConfig(texts.get('config.json')!, texts.get('generation_config.json'));
  const infos = shards.flatMap(({ file, head, bytes }) => parseSafetensorsHeader(head.subarray(8), file, bytes));
  const tensors = describeCheckpoint(config, new Map(infos.map((info) => [info.name, info])));
  const sources = () =>
    new Map(
      shards.map((shard) => {
        const bytes = Buffer.concat([shard.head, ...shard.tensors.flatMap((tensor) => [...values.pieces(tensor)])]);
        return [shard.file, memorySource(bytes, shard.file)] as const;
      }),
    );
  return { config, tensors, infos, sources };
}
