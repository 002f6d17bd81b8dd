/** Writes a synthetic checkpoint to a folder of the origin's private file system, for an engine to load as it loads any folder. */
import { expose } from 'comlink';
import { layOutSynthetic, type SyntheticModel, syntheticShapes } from '../../../src/synth/layout';
import { madeTokenizer } from '../../../src/synth/texts';

type WritableHandle = FileSystemFileHandle & {
  createSyncAccessHandle(): Promise<{ write(bytes: Uint8Array, options: { at: number }): number; close(): void }>;
};

const api = {
  /** @returns bytes. */
  async write(model: SyntheticModel, folderName: string): Promise<number> {
    const { texts, shards, values, bytes } = layOutSynthetic(model, madeTokenizer(syntheticShapes(model).vocabSize));
    const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle(folderName, { create: true });
    for (const [name, text] of texts) await writeFile(folder, name, [new TextEncoder().encode(text)]);
    for (const { file, head, tensors } of shards) {
      await writeFile(folder, file, [head]);
      await writeFile(folder, file, pieces(), head.byteLength);
      function* pieces() {
        for (const tensor of tensors) yield* values.pieces(tensor);
      }
    }
    return bytes;
  },
};

async function writeFile(
  folder: FileSystemDirectoryHandle,
  name: string,
  pieces: Iterable<Uint8Array>,
  start = 0,
): Promise<void> {
  const handle = (await folder.getFileHandle(name, { create: true })) as WritableHandle;
  const access = await handle.createSyncAccessHandle();
  try {
    let at = start;
    for (const piece of pieces) {
      const written = access.write(piece, { at });
      if (written !== piece.byteLength) throw new Error(`${name}: ${written} of ${piece.byteLength} bytes were written.`);
      at += written;
    }
  } finally {
    access.close();
  }
}

export type ModelWriter = typeof api;
expose(api);
