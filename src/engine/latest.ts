/** From callbacks to an async iterator that is only ever interested in the newest value: slow readers skip some. */
export class Latest<T> implements AsyncIterable<T> {
  #value: { value: T } | undefined;
  #ended = false;
  #wake: () => void = () => {};

  put(value: T): void {
    this.#value = { value };
    this.#wake();
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      const next = this.#value;
      this.#value = undefined;
      if (next) yield next.value;
      else if (this.#ended) return;
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
    }
  }
}
