/** Which content the files of a model have, as far as the places where they lie tell: no byte is read for it, and no request made. */
import type { ByteSource } from '../storage/byte_source';

export class Contents {
  readonly #files = new Map<string, string>();
  #undated = false;

  add(file: string, { size, mark }: ByteSource): void {
    this.#files.set(file, `${file} ${size} ${mark}`);
    if (mark === undefined) this.#undated = true;
  }

  /** The same text for the same content. Where a file has no mark nobody can tell, so it is one that nothing else has. */
  get version(): string {
    if (this.#undated) return `unknown ${crypto.getRandomValues(new Uint32Array(4)).join('-')}`;
    return [...this.#files.values()].sort().join('\n');
  }
}
