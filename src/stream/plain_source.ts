/** A model that is not in the store: read where it lies, from this machine or from the network. */
import { storeLayout } from '../plan/store_layout';
import type { ModelFiles } from '../storage/byte_source';
import { availableBytes, isPersisted } from './disk_space';
import type { ModelSource, ModelSourceOptions } from './model_source';
import { networkReads } from './network_reads';
import { type OpenedCheckpoint, openCheckpoint } from './open_checkpoint';

export type PlainOptions = {
  /** 'opfs': it would be stored, but the caller is only looking. */
  home: ModelSource['home'];
  why?: string | undefined;
  /** false: `files` stay the caller's. */
  ownsFiles: boolean;
  /** Called last when the model is closed. */
  onClosed?: (() => Promise<void>) | undefined;
};

/** @throws what `openCheckpoint` does; nothing stays open then. */
export async function openPlain(
  files: ModelFiles,
  { signal, text }: Pick<ModelSourceOptions, 'signal' | 'text'>,
  plain: PlainOptions,
): Promise<ModelSource> {
  try {
    return plainSource(files, await openCheckpoint(files, signal, { text }), plain);
  } catch (error) {
    if (plain.ownsFiles) files.close();
    throw error;
  }
}

/** Takes `checkpoint` over: `close` closes its sources. */
export function plainSource(
  files: ModelFiles,
  checkpoint: OpenedCheckpoint,
  { home, why, ownsFiles, onClosed }: PlainOptions,
): ModelSource {
  const { tensors } = checkpoint;
  const near = home === 'local'; // a disk is fast enough as it is
  const sources = near ? checkpoint.sources : farSources(checkpoint);
  const neededBytes = near ? 0 : storeLayout(tensors).files.reduce((sum, { byteLength }) => sum + byteLength, 0);
  return {
    label: files.label,
    revision: files.revision,
    version: checkpoint.version,
    checkpoint,
    sources,
    stored: undefined,
    home,
    download: undefined,
    why,
    kept: async () => {},
    disk: async () => ({
      neededBytes,
      storedBytes: 0,
      availableBytes: await availableBytes(),
      persisted: await isPersisted(),
    }),
    async close() {
      for (const source of sources.values()) source.close();
      if (ownsFiles) files.close();
      await onClosed?.();
    },
  };
}

function farSources({ tensors, sources }: OpenedCheckpoint): OpenedCheckpoint['sources'] {
  const reads = networkReads(tensors);
  return new Map([...sources].map(([file, source]) => [file, reads(file, source)]));
}
