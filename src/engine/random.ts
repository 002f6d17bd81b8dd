/** sfc32 (Chris Doty-Humphrey's small fast counter, PractRand): seedable, 128 bits of state, one draw per token is all we need. */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  /** Any finite number; the same seed gives the same draws everywhere. */
  constructor(seed: number) {
    const [low, high] = new Uint32Array(Float64Array.of(seed).buffer);
    this.#a = low!;
    this.#b = high!;
    this.#c = 0x9e3779b9;
    for (let i = 0; i < 15; i++) this.#word();
  }

  /** Uniform in [0, 1), 53 bits. */
  next(): number {
    return ((this.#word() >>> 5) * 2 ** 26 + (this.#word() >>> 6)) / 2 ** 53;
  }

  #word(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum;
    return sum >>> 0;
  }
}
