/** What the files of a stored model must hold, and what they do hold. Runs in Node and in browsers. */
import { type StoreFile, storeLayout } from '../../src/plan/store_layout';
import { fillBytes, windowsOf } from '../../src/plan/windows';
import { type Sources, WindowFiller } from '../../src/stream/fill';
import type { OpenedCheckpoint } from '../../src/stream/open_checkpoint';

/** Made by the loader from the original files; zeros where no fill writes. */
export async function expectedFiles({ tensors, sources }: OpenedCheckpoint): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
  const filler = new WindowFiller(sources);
  const made = new Map<string, Uint8Array<ArrayBuffer>>();
  for (const { name, byteLength, fills } of storeLayout(tensors).files) {
    const bytes = new Uint8Array(byteLength);
    const image = {
      label: name,
      bytes: byteLength,
      blocks: [{ block: { label: name, bytes: byteLength, fills }, byteOffset: 0 }],
    };
    for (const window of windowsOf(image, 1 << 20)) await filler.fill(window, bytes.subarray(window.at));
    made.set(name, masked(bytes, fills));
  }
  return made;
}

/** Only what fills cover is ever read, so only that is. */
export async function readStored(sources: Sources, { name, byteLength, fills }: StoreFile): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(byteLength);
  for (const fill of fills) await sources.get(name)!.read(fill.at, bytes.subarray(fill.at, fill.at + fillBytes(fill)));
  return bytes;
}

function masked(bytes: Uint8Array<ArrayBuffer>, fills: StoreFile['fills']): Uint8Array<ArrayBuffer> {
  const kept = new Uint8Array(bytes.byteLength);
  for (const fill of fills) kept.set(bytes.subarray(fill.at, fill.at + fillBytes(fill)), fill.at);
  return kept;
}
