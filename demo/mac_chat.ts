/** A small conversation: messages in, text out as it comes. The chat page has everything else. */
import type { ChatMessage, Engine } from '../src/api';
import { onPress, required, setUnavailable } from './dom';
import { errorText, formatRate } from './format';

/** Long enough for an answer, short enough for a first try. */
const mostTokens = 512;

export class MacChat {
  readonly #input = required('message', HTMLTextAreaElement);
  readonly #send = required('send', HTMLButtonElement);
  readonly #stop = required('stop', HTMLButtonElement);
  readonly #log = required('log', HTMLOListElement);
  readonly #messages: ChatMessage[] = [];
  #engine: Engine | undefined;
  #running: AbortController | undefined;

  constructor(private readonly say: (text: string) => void) {
    required('chat-form', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#ask();
    });
    this.#input.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return; // 229: Safari's IME
      event.preventDefault();
      void this.#ask();
    });
    onPress(this.#stop, () => this.#running?.abort());
  }

  /** Undefined: nothing can be asked. Another engine begins another conversation. */
  use(engine: Engine | undefined): void {
    this.#running?.abort();
    this.#engine = engine;
    this.#messages.length = 0;
    this.#log.replaceChildren();
    required('chat-section', HTMLElement).hidden = engine === undefined;
  }

  async #ask(): Promise<void> {
    const content = this.#input.value.trim();
    const engine = this.#engine;
    if (!engine || this.#running || content === '') return;
    const running = new AbortController();
    this.#running = running;
    this.#input.value = '';
    this.#messages.push({ role: 'user', content });
    this.#turn('You', content);
    const reply = this.#turn('Model', '');
    this.#setBusy(true);
    this.say('The reply has started');
    let failure = '';
    try {
      const note = await this.#stream(engine, reply, running.signal);
      this.say(`The reply is complete. ${note}`);
      required('rate', HTMLElement).textContent = note;
    } catch (error) {
      const aborted = error instanceof DOMException && error.name === 'AbortError';
      failure = aborted ? '' : errorText(error);
      this.say(failure || 'The reply was stopped');
    }
    if (this.#engine === engine) this.#keep(reply.textContent ?? '');
    if (failure) reply.append(`\n${failure}`); // to read, and no part of what the model is told that it said
    this.#running = undefined;
    this.#setBusy(false);
  }

  /** A question that got no answer is not asked again with the next one. */
  #keep(said: string): void {
    if (said) this.#messages.push({ role: 'assistant', content: said });
    else this.#messages.pop();
  }

  /** @returns its speed. */
  async #stream(engine: Engine, reply: HTMLElement, signal: AbortSignal): Promise<string> {
    const messages = [...this.#messages];
    let rate = '';
    const chunks = await engine.chat.completions.create({ messages, stream: true, max_tokens: mostTokens, signal });
    for await (const { choices, timings } of chunks) {
      const text = choices[0]?.delta.content;
      if (text) reply.append(text); // text nodes: what a model writes is never markup
      if (timings) rate = `${formatRate(timings.decodeTokens, timings.decodeMs)}.`;
    }
    return rate;
  }

  #turn(who: string, text: string): HTMLElement {
    const [item, name, words] = ['li', 'h3', 'p'].map((tag) => document.createElement(tag)) as [
      HTMLElement,
      HTMLElement,
      HTMLElement,
    ];
    name.textContent = who;
    words.textContent = text;
    item.append(name, words);
    item.dataset.who = who;
    this.#log.append(item);
    return words;
  }

  #setBusy(busy: boolean): void {
    setUnavailable(this.#send, busy);
    setUnavailable(this.#stop, !busy);
    document.documentElement.dataset.busy = String(busy);
  }
}
