/** The hub's listing of a commit: `GET /api/models/{owner}/{name}/tree/{commit}`. */
import { createHash } from 'node:crypto';
import { type FileContent, readContent, sha256Of, sizeOf } from './hub_files';

export type TreeEntry = {
  type: 'file' | 'directory';
  path: string;
  size: number;
  /** git's: of the blob, or of the LFS pointer that stands for it. */
  oid: string;
  lfs?: { oid: string; size: number; pointerSize: number };
};

/** The hub keeps weights and anything of this size in LFS. */
const LFS_BYTES = 10 << 20;

/** Entries from `cursor` on, sorted by path; `next` is the cursor of the page after, if there is one. */
export async function listTree(
  files: ReadonlyMap<string, FileContent>,
  cursor: number,
  pageSize: number,
): Promise<{ entries: TreeEntry[]; next: number | undefined }> {
  const names = [...files.keys()].sort();
  const page = names.slice(cursor, cursor + pageSize);
  const entries = await Promise.all(page.map((name) => entryOf(name, files.get(name)!)));
  // A folder, as repositories have them: it is none of the model's files.
  if (cursor === 0) entries.unshift({ type: 'directory', path: 'original', size: 0, oid: blobOid(Buffer.from('original')) });
  const next = cursor + pageSize;
  return { entries, next: next < names.length ? next : undefined };
}

async function entryOf(path: string, content: FileContent): Promise<TreeEntry> {
  const size = sizeOf(content);
  if (!path.endsWith('.safetensors') && size < LFS_BYTES) {
    return { type: 'file', path, size, oid: blobOid(await readContent(content, 0, size)) };
  }
  const sha256 = await sha256Of(content);
  const pointer = Buffer.from(`version https://git-lfs.github.com/spec/v1\noid sha256:${sha256}\nsize ${size}\n`);
  return { type: 'file', path, size, oid: blobOid(pointer), lfs: { oid: sha256, size, pointerSize: pointer.byteLength } };
}

function blobOid(bytes: Uint8Array): string {
  return createHash('sha1').update(`blob ${bytes.byteLength}\0`).update(bytes).digest('hex');
}
