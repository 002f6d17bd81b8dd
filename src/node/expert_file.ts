/** `bench --experts-file`: opens a file of expert images, or makes it. */
import { open, stat } from 'node:fs/promises';
import { type ExpertFile, expertFile, expertFileHead, expertImages, expertStride } from '../bench/expert_file';
import { EngineError } from '../errors';
import type { SyntheticDescription } from '../synth/layout';
import { openFile } from './file_source';

/**
 * `bytes`: of a file that is to be made, at most what all experts of the model take.
 * @throws EngineError 'invalid-request' where another file is there, 'storage'.
 */
export async function openExpertFile(path: string, described: SyntheticDescription, bytes: number): Promise<ExpertFile> {
  const isThere = await stat(path).then(
    () => true,
    () => false,
  );
  if (!isThere) await makeExpertFile(path, described, bytes);
  return expertFile(described, await openFile(path));
}

async function makeExpertFile(path: string, described: SyntheticDescription, bytes: number): Promise<void> {
  const stride = expertStride(described);
  const head = expertFileHead(described);
  const experts = described.tensors.layers.length * described.config.moe!.experts;
  const count = Math.max(1, Math.min(experts, Math.floor((bytes - head.byteLength) / stride)));
  const images = await expertImages(described);
  console.error(`Writing ${count} experts, ${((count * stride) / 1e9).toFixed(2)} GB, to ${path}`);
  try {
    const file = await open(path, 'wx');
    try {
      for (let i = 0; i < count; i++) await file.write(images[i % images.length]!, 0, stride, head.byteLength + i * stride);
      await file.write(head, 0, head.byteLength, 0); // last: a file that was left half written is none
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw new EngineError('storage', `${path} cannot be written (${(cause as Error).message}).`, { cause });
  }
}
