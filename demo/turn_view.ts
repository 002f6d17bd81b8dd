/** One turn of the conversation on the page. Built from the templates of index.html; model text enters as text nodes only. */
import type { Timings } from '../src/api';
import { cloneTemplate, onPress, part, setUnavailable } from './dom';
import { formatCount, formatRate } from './format';
import { StreamText } from './stream_text';

export type ReplyEnd = 'stop' | 'length' | 'stopped' | 'failed' | 'cut-off';

export function createUserTurn(text: string): HTMLElement {
  const root = cloneTemplate('user-turn');
  part(root, 'text').textContent = text;
  return root;
}

export class ReplyView {
  readonly root = cloneTemplate('reply-turn');
  readonly #stream: StreamText;
  readonly #thoughts: StreamText;
  #text = '';

  constructor(onGrow: () => void, onRegenerate: () => void, onCopied: (copied: boolean) => void) {
    this.#stream = new StreamText(part(this.root, 'text'), onGrow);
    this.#thoughts = new StreamText(part(this.root, 'thoughts'), onGrow);
    onPress(part(this.root, 'regenerate'), onRegenerate);
    onPress(part(this.root, 'copy'), () => void this.#copy(onCopied));
  }

  get text(): string {
    return this.#text;
  }

  /** Empties the turn and waits for a reply; used again when the reply is made anew. */
  start(): void {
    this.#text = '';
    this.#stream.clear();
    this.#thoughts.clear();
    part(this.root, 'thinking').hidden = true;
    this.root.dataset.state = 'waiting';
    part(this.root, 'note').textContent = '';
    this.#setActions(false);
  }

  /** What the model thinks before it answers is shown folded, and is no part of the reply. */
  think(text: string): void {
    part(this.root, 'thinking').hidden = false;
    this.root.dataset.state = 'streaming';
    this.#thoughts.append(text);
  }

  /** A reply of an earlier page. */
  show(text: string, end: ReplyEnd): void {
    this.append(text);
    this.end(end, undefined);
  }

  /** Goes on where the text is. */
  resume(): void {
    this.root.dataset.state = 'streaming';
    part(this.root, 'note').textContent = '';
    this.#setActions(false);
  }

  append(text: string): void {
    this.#text += text;
    this.root.dataset.state = 'streaming';
    this.#stream.append(text);
  }

  end(end: ReplyEnd, timings: Timings | undefined): void {
    this.#stream.flush();
    this.#thoughts.flush();
    this.root.dataset.state = end;
    part(this.root, 'note').textContent = describeEnd(end, timings);
    this.#setActions(true);
  }

  /** Only the newest reply can be made again. */
  retire(): void {
    part(this.root, 'regenerate').hidden = true;
  }

  #setActions(available: boolean): void {
    setUnavailable(part(this.root, 'copy'), !available || this.#text === '');
    setUnavailable(part(this.root, 'regenerate'), !available);
  }

  async #copy(onCopied: (copied: boolean) => void): Promise<void> {
    const copied = await copyText(this.#text);
    onCopied(copied);
    if (copied) flash(part(this.root, 'copy'));
  }
}

function describeEnd(end: ReplyEnd, timings: Timings | undefined): string {
  if (end === 'failed') return 'This reply broke off';
  if (end === 'cut-off') return 'The page closed here; the reply goes on once the model is ready';
  const tokens = timings
    ? `${formatCount(timings.decodeTokens)} tokens at ${formatRate(timings.decodeTokens, timings.decodeMs)}`
    : '';
  const reason = { stop: '', length: 'cut at the token limit', stopped: 'stopped by you' }[end];
  return [tokens, reason].filter(Boolean).join(' · ');
}

/** False where the browser refuses: no secure context, or no permission. */
async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch (error) {
    if (error instanceof DOMException || error instanceof TypeError) return false;
    throw error;
  }
}

function flash(button: HTMLElement): void {
  button.dataset.done = '';
  setTimeout(() => delete button.dataset.done, 1600);
}
