/** A stored model as the files that it was made from, as far as opening a checkpoint reads them: texts, and headers of weight files. */
import { EngineError } from '../errors';
import type { ByteSource, ModelFiles } from '../storage/byte_source';
import { memorySource } from '../storage/memory';
import { checkRange } from '../storage/range';
import { headerText, type StoreEntry, type StoreManifest } from '../storage/store/types';

/** `remote` is asked for a text whose stored copy is damaged, and for nothing else. */
export function storedFiles(entry: StoreEntry, remote: () => Promise<ModelFiles>): ModelFiles {
  const { manifest } = entry;
  return {
    label: manifest.label,
    revision: manifest.revision,
    version: manifest.version,
    async open(name, signal) {
      const origin = manifest.origins.find(({ file }) => file === name);
      const text = origin ? headerText(name) : name;
      if (!manifest.texts.includes(text)) throw new EngineError('not-found', `The stored model has no ${name}.`);
      try {
        const bytes = await entry.readText(text);
        return origin ? headSource(bytes, name, origin.byteLength) : memorySource(bytes, name);
      } catch (error) {
        if (!(error instanceof EngineError) || error.code !== 'storage') throw error;
        return (await remote()).open(name, signal).catch((cause: unknown) => {
          throw cause instanceof EngineError ? error : cause;
        });
      }
    },
    close() {},
  };
}

/** A file of which only the beginning is there. */
function headSource(head: Uint8Array, label: string, size: number): ByteSource {
  const inner = memorySource(head, label);
  const source: ByteSource = {
    label,
    size,
    async read(byteOffset, into, signal) {
      checkRange(source, byteOffset, into.byteLength);
      if (byteOffset + into.byteLength > head.byteLength) {
        throw new EngineError(
          'internal',
          `${label}: only the header is stored in this form; its tensors lie in the store's files.`,
        );
      }
      await inner.read(byteOffset, into, signal);
    },
    close: () => inner.close(),
  };
  return source;
}

/** @throws EngineError 'storage' where the file is not the one that the store began with. Hub files are named by their commit. */
export async function openOriginal(
  files: ModelFiles,
  file: string,
  { origins, revision }: Pick<StoreManifest, 'origins' | 'revision'>,
  signal?: AbortSignal,
): Promise<ByteSource> {
  const source = await files.open(file, signal);
  const origin = origins.find((known) => known.file === file);
  const { etag } = source;
  const otherEtag = revision === undefined && etag !== undefined && origin?.etag !== undefined && etag !== origin.etag;
  if (source.size === origin?.byteLength && !otherEtag) return source;
  source.close();
  throw new EngineError(
    'storage',
    `${source.label} changed on its server since its download began. Load the model with 'update' to begin again.`,
  );
}
