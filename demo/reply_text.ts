/**
 * The words of a reply: plain text until the Markdown renderer has arrived, Markdown from then on. The renderer is many times the size of the
 * page, so it comes after the message box works; if it cannot be had, replies stay readable without it.
 */
import type { MarkdownStream } from './markdown/markdown_stream';
import { StreamText } from './stream_text';

type Renderer = typeof import('./markdown/markdown_stream');

let renderer: Renderer | undefined;
let loading: Promise<void> | undefined;
const plain = new Set<ReplyText>();

/** Starts to fetch the renderer. Replies that are on the page by then are shown anew. */
export function loadMarkdown(): Promise<void> {
  loading ??= import('./markdown/markdown_stream').then(
    (module) => {
      renderer = module;
      for (const reply of [...plain]) reply.upgrade();
    },
    () => {
      loading = undefined; // no network: the next call tries again
    },
  );
  return loading;
}

export class ReplyText {
  #text = '';
  #ended = false;
  #stream: MarkdownStream | StreamText;

  constructor(
    private readonly container: HTMLElement,
    private readonly onGrow: () => void,
  ) {
    this.#stream = this.#createStream();
  }

  /** As the model wrote it. */
  get text(): string {
    return this.#text;
  }

  append(text: string): void {
    this.#text += text;
    this.#ended = false;
    this.#stream.append(text);
  }

  /** Nothing comes after what has arrived. `now`: the reader has watched it come. */
  end({ now } = { now: true }): void {
    this.#ended = true;
    if (this.#stream instanceof StreamText) this.#stream.flush();
    else this.#stream.end({ now });
  }

  clear(): void {
    this.#text = '';
    this.#ended = false;
    this.#stream.clear();
  }

  /** More will come behind a reply that had ended: its last block is open again. */
  reopen(): void {
    if (this.#ended) this.#show(this.#text);
  }

  /** Taken from the page for good. */
  release(): void {
    plain.delete(this);
    this.#stream.clear();
  }

  upgrade(): void {
    plain.delete(this);
    const ended = this.#ended;
    this.#stream.clear();
    this.#stream = this.#createStream();
    this.#show(this.#text);
    if (ended) this.end();
  }

  #show(text: string): void {
    this.clear();
    this.append(text);
  }

  #createStream(): MarkdownStream | StreamText {
    if (renderer) return new renderer.MarkdownStream(this.container, this.onGrow);
    plain.add(this);
    return new StreamText(this.container, this.onGrow);
  }
}
