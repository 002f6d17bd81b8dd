import { abortError, fromWire } from '../errors';
import type { PromptProgress } from '../protocol/chat';
import type { GenerateEvent } from '../protocol/engine';

export type ReplyEvent = Exclude<GenerateEvent, { type: 'error' }>;

/**
 * One request's events: those that came and nobody has asked for yet, and whoever waits for the next one. An iterator by hand
 * rather than a generator, because a generator that was never started never runs its `finally`: leaving must cancel also then.
 */
export class EventStream implements AsyncIterableIterator<ReplyEvent> {
  readonly #events: ReplyEvent[] = [];
  readonly #close: (finished: boolean) => void;
  readonly #listening = new AbortController();
  #failure: Error | undefined;
  #ended = false;
  #wake: () => void = () => {};

  /** `close` is called once, when the request is over; `finished`: by itself, so that there is nothing to cancel. */
  constructor(signal: AbortSignal | undefined, close: (finished: boolean) => void) {
    this.#close = close;
    signal?.addEventListener('abort', () => this.fail(abortError()), { signal: this.#listening.signal });
  }

  readonly push = (event: GenerateEvent): void => {
    if (this.#ended) return;
    if (event.type === 'error') {
      this.#end(true, fromWire(event.error));
      return;
    }
    this.#events.push(event);
    if (event.type === 'done') this.#end(true);
    this.#wake();
  };

  /** Ends the request on this side at once; what came before and was not asked for is dropped. */
  fail(error: Error): void {
    if (this.#ended) return;
    this.#events.length = 0;
    this.#end(false, error);
  }

  async next(): Promise<IteratorResult<ReplyEvent, undefined>> {
    for (;;) {
      const event = this.#events.shift();
      if (event) return { done: false, value: event };
      if (this.#failure) {
        const failure = this.#failure;
        this.#failure = undefined;
        throw failure;
      }
      if (this.#ended) return { done: true, value: undefined };
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async return(): Promise<IteratorResult<ReplyEvent, undefined>> {
    this.#events.length = 0;
    if (!this.#ended) this.#end(false);
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #end(finished: boolean, failure?: Error): void {
    this.#ended = true;
    this.#failure = failure;
    this.#listening.abort();
    this.#close(finished);
    this.#wake();
  }
}

/**
 * Maps a stream's events to chunks, any number for each. Leaving early, also before the first chunk was asked for, leaves the
 * stream.
 */
export function mapEvents<T>(
  events: AsyncIterableIterator<ReplyEvent>,
  map: (event: ReplyEvent) => readonly T[],
): AsyncIterableIterator<T> {
  const waiting: T[] = [];
  return {
    async next(): Promise<IteratorResult<T, undefined>> {
      while (waiting.length === 0) {
        const result = await events.next();
        if (result.done) return { done: true, value: undefined };
        waiting.push(...map(result.value));
      }
      return { done: false, value: waiting.shift()! };
    },
    async return(): Promise<IteratorResult<T, undefined>> {
      waiting.length = 0;
      await events.return?.();
      return { done: true, value: undefined };
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

/** The whole prompt's progress, what needed no reading included, as llama.cpp counts it. */
export function progressOf({ done, total, ms, cached = 0 }: Extract<ReplyEvent, { type: 'prefill' }>): PromptProgress {
  return { total: cached + total, cache: cached, processed: cached + done, time_ms: ms };
}
