/** The files that are read, and ways of getting them out of the page cache. */
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * One file, or every *.safetensors of a folder. `limit`: bytes in all, 0 for everything.
 * @returns {Promise<{ paths: string[], bytes: number, extents: { handle: import('node:fs/promises').FileHandle, bytes: number }[] }>}
 */
export async function openFiles(path, limit) {
  const paths = (await stat(path)).isDirectory()
    ? (await readdir(path))
        .filter((name) => name.endsWith('.safetensors'))
        .sort()
        .map((name) => join(path, name))
    : [path];
  if (paths.length === 0) throw new Error(`${path} holds no *.safetensors. Name another --file.`);
  const extents = [];
  let left = limit === 0 ? Number.POSITIVE_INFINITY : limit;
  for (const file of paths) {
    if (left <= 0) break;
    const handle = await open(file, 'r');
    const bytes = Math.min(left, (await handle.stat()).size);
    extents.push({ handle, bytes });
    left -= bytes;
  }
  paths.length = extents.length; // the others are not read, so they need not leave the page cache either
  const bytes = extents.reduce((sum, extent) => sum + extent.bytes, 0);
  if (bytes === 0) throw new Error(`${path} is empty. Name another --file.`);
  return { paths, bytes, extents };
}

/** Pieces of all files one after another; the last piece of a file may be short. */
export function piecesOf({ extents }, pieceBytes) {
  return extents.flatMap(({ handle, bytes }) =>
    Array.from({ length: Math.ceil(bytes / pieceBytes) }, (_, i) => ({
      handle,
      position: i * pieceBytes,
      bytes: Math.min(pieceBytes, bytes - i * pieceBytes),
    })),
  );
}

/** Fills the first `bytes` of `into`, which must be at least as long. */
export async function readPiece({ handle, position, bytes }, into) {
  for (let done = 0; done < bytes; ) {
    const { bytesRead } = await handle.read(into, done, bytes - done, position + done);
    if (bytesRead === 0) throw new Error('The file became shorter while it was read.');
    done += bytesRead;
  }
}

/**
 * Empties the page cache of the files: Node has no posix_fadvise, but `dd iflag=nocache count=0` calls it for a whole file and
 * needs no rights; else /proc/sys/vm/drop_caches, for root. `fincore`, where there is one, tells what stayed.
 */
export class CacheDropper {
  #paths;

  constructor(paths) {
    this.#paths = paths;
  }

  /** @returns {Promise<{ possible: boolean, how: string, residentBytes?: number }>} */
  async drop() {
    spawnSync('sync', this.#paths); // pages that wait to be written stay otherwise
    const tried = [];
    for (const [how, attempt] of [
      ['posix_fadvise through dd', () => this.#advise()],
      ['/proc/sys/vm/drop_caches', () => dropAll()],
    ]) {
      const ran = attempt();
      const residentBytes = this.residentBytes();
      const checked = residentBytes === undefined ? ', unchecked for want of fincore' : '';
      if (ran && !(residentBytes > 0.02 * this.#bytes())) return { possible: true, how: how + checked, residentBytes };
      tried.push(`${how} ${ran ? `left ${residentBytes} bytes` : 'failed'}`);
    }
    return { possible: false, how: `the page cache cannot be emptied here: ${tried.join(', ')}` };
  }

  /** Bytes of the files that are in the page cache; undefined where that cannot be known. */
  residentBytes() {
    const { status, stdout } = spawnSync('fincore', ['--bytes', '--noheadings', '--output', 'RES', ...this.#paths]);
    if (status !== 0) return undefined;
    return String(stdout)
      .trim()
      .split(/\s+/)
      .reduce((sum, bytes) => sum + Number(bytes), 0);
  }

  #bytes() {
    const { stdout } = spawnSync('stat', ['-L', '-c', '%s', ...this.#paths]);
    return String(stdout)
      .trim()
      .split('\n')
      .reduce((sum, bytes) => sum + Number(bytes), 0);
  }

  #advise() {
    return this.#paths.every((path) => spawnSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0', 'status=none']).status === 0);
  }
}

function dropAll() {
  try {
    if (!existsSync('/proc/sys/vm/drop_caches')) return false;
    writeFileSync('/proc/sys/vm/drop_caches', '3\n');
    return true;
  } catch {
    return false;
  }
}
