/** The conversation: sends turns to the engine, streams the reply into the page, stops, regenerates, starts anew. */
import type { ChatRequest, Engine, Timings } from '../src/api';
import { LiveRate, type Turn, toMessages } from './conversation';
import type { KeptChat } from './history';
import { isAbort } from './session';
import { createUserTurn, type ReplyEnd, ReplyView } from './turn_view';

export type ChatHooks = {
  engine(): Engine | undefined;
  sampling(): Partial<ChatRequest>;
  onGrow(): void;
  onTurnAdded(): void;
  onBusy(busy: boolean): void;
  onLiveRate(rate: { tokens: number; ms: number }): void;
  onEnd(end: ReplyEnd, timings: Timings | undefined): void;
  onError(error: unknown, engine: Engine): void;
  onRegenerate(): void;
  /** The conversation changed, if only by a word. */
  onChange(chat: () => KeptChat): void;
  onCopied(copied: boolean): void;
};

type Reply = Turn & { role: 'assistant'; view: ReplyView };

export class Chat {
  readonly #turns: (Turn | Reply)[] = [];
  #running: AbortController | undefined;
  /** The last turn is a reply that had not ended when its page did. */
  #cutOff = false;

  constructor(
    private readonly list: HTMLElement,
    private readonly hooks: ChatHooks,
  ) {}

  get busy(): boolean {
    return this.#running !== undefined;
  }

  get empty(): boolean {
    return this.#turns.length === 0;
  }

  /** The newest reply is there in part, or not at all. */
  get broken(): boolean {
    return this.busy || this.#lastReply()?.view.root.dataset.state === 'failed';
  }

  /** False, with nothing done, while a reply runs or no model is ready. */
  send(text: string): boolean {
    const engine = this.hooks.engine();
    if (!engine || this.busy) return false;
    this.#lastReply()?.view.retire();
    this.#turns.push({ role: 'user', text });
    const reply = this.#createReply();
    this.list.append(createUserTurn(text), reply.view.root);
    this.hooks.onTurnAdded();
    void this.#answer(engine, reply);
    return true;
  }

  /** Makes the newest reply again, in its place. False where that cannot be done now. */
  regenerate(): boolean {
    const engine = this.hooks.engine();
    const reply = this.#lastReply();
    if (!engine || !reply || this.busy) return false;
    void this.#answer(engine, reply);
    return true;
  }

  /** Puts a conversation back that an earlier page kept. A reply that was cut off goes on with `resume`. */
  restore({ turns, cutOff }: KeptChat): void {
    if (!this.empty) return;
    for (const [i, { role, text }] of turns.entries()) {
      if (role === 'user') {
        this.#turns.push({ role, text });
        this.list.append(createUserTurn(text));
        continue;
      }
      this.#lastReply()?.view.retire();
      const reply = this.#createReply();
      reply.text = text;
      reply.view.show(text, cutOff && i === turns.length - 1 ? 'cut-off' : 'stop');
      this.list.append(reply.view.root);
    }
    this.#cutOff = cutOff;
    this.hooks.onTurnAdded();
  }

  /** Goes on with a reply that a reload or a crash cut off, from its last word. False where there is none. */
  resume(): boolean {
    const engine = this.hooks.engine();
    const reply = this.#lastReply();
    if (!engine || !reply || this.busy || !this.#cutOff) return false;
    void this.#answer(engine, reply, reply.text);
    return true;
  }

  stop(): void {
    this.#running?.abort();
  }

  clear(): void {
    const running = this.#running;
    this.#release();
    running?.abort();
    this.#turns.length = 0;
    this.#cutOff = false;
    this.list.replaceChildren();
    this.#keep();
  }

  #lastReply(): Reply | undefined {
    const last = this.#turns.at(-1);
    return last && 'view' in last ? last : undefined;
  }

  #createReply(): Reply {
    const view = new ReplyView(this.hooks.onGrow, this.hooks.onRegenerate, this.hooks.onCopied);
    const reply: Reply = { role: 'assistant', view, text: '' };
    this.#turns.push(reply);
    return reply;
  }

  /** `begun`: what the reply says so far, to go on from. */
  async #answer(engine: Engine, reply: Reply, begun = ''): Promise<void> {
    const running = new AbortController();
    this.#running = running;
    if (begun === '') reply.view.start();
    else reply.view.resume();
    reply.text = begun;
    this.#cutOff = true;
    this.#keep();
    this.hooks.onBusy(true);
    const messages = toMessages(this.#turns.slice(0, -1));
    const request = begun
      ? { messages: [...messages, { role: 'assistant' as const, content: begun }], continue_final_message: true }
      : { messages };
    try {
      const result = await this.#stream(engine, request, reply, running.signal);
      this.#finish(running, reply, result.end, result.timings);
    } catch (error) {
      const stopped = isAbort(error) && running.signal.aborted;
      const current = this.#finish(running, reply, stopped ? 'stopped' : 'failed', undefined);
      if (current && !stopped) this.hooks.onError(error, engine);
    }
  }

  async #stream(engine: Engine, request: ChatRequest, reply: Reply, signal: AbortSignal) {
    const live = new LiveRate();
    let timings: Timings | undefined;
    let end: ReplyEnd = 'stop';
    const chunks = await engine.chat.completions.create({ ...this.hooks.sampling(), ...request, stream: true, signal });
    for await (const chunk of chunks) {
      const choice = chunk.choices[0];
      timings = chunk.timings ?? timings;
      if (choice?.finish_reason) end = choice.finish_reason === 'length' ? 'length' : 'stop';
      const { content, reasoning_content: thought } = choice?.delta ?? {};
      if (thought) reply.view.think(thought);
      if (content) reply.view.append(content);
      if (!content && !thought) continue;
      reply.text = reply.view.text;
      if (content && !signal.aborted) this.#keep();
      const rate = live.add(performance.now());
      if (rate) this.hooks.onLiveRate(rate);
    }
    return { end, timings };
  }

  /** False if this reply's conversation was cleared away in the meantime. */
  #finish(running: AbortController, reply: Reply, end: ReplyEnd, timings: Timings | undefined): boolean {
    if (this.#running !== running) return false;
    reply.text = reply.view.text;
    reply.view.end(end, timings);
    this.#cutOff = false;
    this.#keep();
    this.#release();
    this.hooks.onEnd(end, timings);
    return true;
  }

  #keep(): void {
    this.hooks.onChange(() => ({ turns: this.#turns.map(({ role, text }) => ({ role, text })), cutOff: this.#cutOff }));
  }

  #release(): void {
    if (!this.#running) return;
    this.#running = undefined;
    this.hooks.onBusy(false);
  }
}
