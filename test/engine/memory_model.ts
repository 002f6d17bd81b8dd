/** Synthetic checkpoints in memory, whose files can be made to fail, wait and count, and the logits of a session that runs one. */
import { ModelSession, type SessionOptions } from '../../src/engine/model_session';
import type { LogitsTile } from '../../src/engine/step_part';
import type { Gpu } from '../../src/gpu/device';
import type { ByteSource, ModelFiles } from '../../src/storage/byte_source';
import { memorySource } from '../../src/storage/memory';
import { type OpenedCheckpoint, openCheckpoint } from '../../src/stream/open_checkpoint';
import { layOutSynthetic, type SyntheticModel } from '../../src/synth/layout';
import { regularLayerTypes, type SyntheticShapes } from '../../src/synth/presets';

export type Ids = Uint32Array<ArrayBuffer>;

export const tinyShapes: SyntheticShapes = {
  hiddenSize: 128,
  intermediateSize: 256,
  vocabSize: 515,
  numAttentionHeads: 4,
  numKeyValueHeads: 2,
  headDim: 64,
  layerTypes: regularLayerTypes(4),
  linearNumKeyHeads: 2,
  linearNumValueHeads: 4,
  linearKeyHeadDim: 32,
  linearValueHeadDim: 32,
  tieWordEmbeddings: true,
};

/** Without a tokenizer: scoring ids needs none. */
export async function openSynthetic(model: SyntheticModel): Promise<OpenedCheckpoint> {
  const { texts, shards, values } = layOutSynthetic(model, { files: new Map(), endIds: [1] });
  const files = new Map([...texts].map(([name, text]) => [name, new TextEncoder().encode(text) as Uint8Array]));
  for (const { file, head, tensors } of shards) {
    files.set(file, Buffer.concat([head, ...tensors.flatMap((tensor) => [...values.pieces(tensor)])]));
  }
  const opened: ModelFiles = {
    label: 'synthetic',
    revision: undefined,
    open: async (name) => {
      const bytes = files.get(name);
      if (!bytes) return missing(name);
      return memorySource(bytes, name);
    },
    close() {},
  };
  return openCheckpoint(opened, undefined, { text: false });
}

async function missing(name: string): Promise<never> {
  const { EngineError } = await import('../../src/errors');
  throw new EngineError('not-found', `There is no ${name}.`);
}

/** What happens before each read: throw to fail it, wait to slow it down. */
export type BeforeRead = (bytes: number, signal: AbortSignal | undefined) => void | Promise<void>;

/** The same checkpoint with `before` run ahead of every read of weights. */
export function withReads(checkpoint: OpenedCheckpoint, before: BeforeRead): OpenedCheckpoint {
  const wrapped = (source: ByteSource): ByteSource => ({
    label: source.label,
    size: source.size,
    async read(byteOffset, into, signal) {
      await before(into.byteLength, signal);
      await source.read(byteOffset, into); // an abort does not stop what a disk is already doing
    },
    close: () => source.close(),
  });
  return { ...checkpoint, sources: new Map([...checkpoint.sources].map(([name, source]) => [name, wrapped(source)])) };
}

/** The same checkpoint's sources, and `file offset length` of every read of them, as it begins. */
export function loggedReads({ sources }: Pick<OpenedCheckpoint, 'sources'>) {
  const reads: string[] = [];
  const logged = [...sources].map(([name, source]) => {
    const read: ByteSource['read'] = (at, into, signal) => {
      reads.push(`${name} ${at} ${into.byteLength}`);
      return source.read(at, into, signal);
    };
    return [name, { ...source, read }] as const;
  });
  return { sources: new Map(logged), reads };
}

/** Every row of logits of `steps`, one step after another: [tokens, vocab]. */
export async function logitsOf(session: ModelSession, steps: readonly Ids[], signal?: AbortSignal): Promise<Float32Array> {
  const { sequence, runner, config } = session;
  const vocab = config.vocabSize;
  const rows = new Float32Array(steps.reduce((sum, tokens) => sum + tokens.length, 0) * vocab);
  let done = 0;
  for (const tokens of steps) {
    const start = done;
    const onLogits = ({ values, firstToken, rows: count, firstWord, words }: LogitsTile) => {
      for (let row = 0; row < count; row++) {
        rows.set(values.subarray(row * words, (row + 1) * words), (start + firstToken + row) * vocab + firstWord);
      }
    };
    await runner.step([{ sequence, tokens, logits: 'all', onLogits }], signal);
    done += tokens.length;
  }
  return rows;
}

/** Ids that differ from each other, the same for the same seed. */
export function someIds(count: number, vocab: number, seed = 1): Ids {
  return Uint32Array.from({ length: count }, (_, i) => (((i + seed) * 2_654_435_761) >>> 7) % vocab);
}

export const oneByOne = (ids: Ids): Ids[] => Array.from(ids, (id) => Uint32Array.of(id));

/** Loads, scores the prompt in one step and the others one by one, from a sequence that was reset. */
export async function scoreOnce(
  gpu: Gpu,
  checkpoint: OpenedCheckpoint,
  options: SessionOptions,
  { prompt, decode }: { prompt: Ids; decode: Ids },
): Promise<{ session: ModelSession; logits: Float32Array }> {
  const session = await ModelSession.load(gpu, checkpoint, options);
  try {
    return { session, logits: await logitsOf(session, [prompt, ...oneByOne(decode)]) };
  } finally {
    session.destroy();
  }
}
