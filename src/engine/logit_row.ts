import type { LogitsTile } from './step_part';

/** Puts the tiles of one token's logits together: [vocabSize] f32. */
export class LogitRow {
  #values: Float32Array<ArrayBuffer>;

  constructor(vocabSize: number) {
    this.#values = new Float32Array(vocabSize);
  }

  /** The row; valid when the step is over, until the next tile comes. */
  get values(): Float32Array<ArrayBuffer> {
    return this.#values;
  }

  /** Takes over a copy of a whole row that was kept. */
  fill(values: Float32Array<ArrayBuffer>): void {
    this.#values = values.slice();
  }

  readonly add = ({ values, firstWord, words }: LogitsTile): void => {
    if (words === this.#values.length) this.#values = values;
    else this.#values.set(values, firstWord);
  };
}
