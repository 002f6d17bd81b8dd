/**
 * The conversation on the page: sends turns to the engine, streams replies, stops, makes anew, edits, and goes from branch to branch. A message
 * that comes before its model waits as what a closed page leaves behind, a reply that is cut off, so that both begin in one way.
 */
import type { ChatCompletionChunk, ChatRequest, Engine, Timings, Usage } from '../src/api';
import type { Attachment } from './attachments';
import {
  branchesAt,
  type Conversation,
  LiveRate,
  newConversation,
  newestLeaf,
  pathOf,
  type ReplyEnd,
  type Turn,
  titleOf,
  toMessages,
} from './conversation';
import { isAbort } from './session';
import { ReplyView, type TurnView, UserView } from './turn_view';

export type ChatHooks = {
  engine(): Engine | undefined;
  /** A model is on its way, so that a message may wait for it. */
  expectsEngine(): boolean;
  /** Before a request: gives the engine what it once knew of this conversation. Never rejects. */
  prepare(engine: Engine, id: string): Promise<void>;
  sampling(): Partial<ChatRequest>;
  system(): string;
  onGrow(): void;
  onTurnAdded(): void;
  onBusy(busy: boolean): void;
  /** Something on the page waits for a model, or no longer does. */
  onWaiting(waiting: boolean): void;
  /** A message that waited is taken back, and is on the page no more. */
  onTakenBack(text: string, attachments: readonly Attachment[]): void;
  onLiveRate(rate: { tokens: number; ms: number }): void;
  onEnd(end: ReplyEnd, timings: Timings | undefined): void;
  onError(error: unknown, engine: Engine): void;
  /** The conversation changed by more than a word. */
  onChange(conversation: Conversation): void;
  /** The reply under way has more words. */
  onWords(id: string, index: number, turn: Turn): void;
  onCopied(copied: boolean): void;
  say(text: string): void;
};

type Shown = { index: number; view: TurnView };
type Running = { stop: AbortController; index: number; turn: Turn; view: ReplyView };

export class Chat {
  #conversation = newConversation(Date.now());
  #shown: Shown[] = [];
  #running: Running | undefined;
  #waiting = false;

  constructor(
    private readonly list: HTMLElement,
    private readonly hooks: ChatHooks,
  ) {}

  get conversation(): Conversation {
    return this.#conversation;
  }

  get busy(): boolean {
    return this.#running !== undefined;
  }

  get empty(): boolean {
    return this.#conversation.turns.length === 0;
  }

  /** The newest reply is there in part, or not at all. */
  get broken(): boolean {
    return this.busy || this.#lastReply()?.turn.end === 'failed';
  }

  /** The newest reply begins, or goes on, as soon as there is a model. */
  get waiting(): boolean {
    return !this.busy && this.#lastReply()?.turn.end === 'cut-off';
  }

  /** False, with nothing done, while a reply runs or waits, and where there is no model, nor one on its way. */
  send(text: string, attachments: readonly Attachment[] = []): boolean {
    return this.#ask({ parent: this.#conversation.leaf, text, attachments });
  }

  /** Makes the newest reply again: beside what was there, or in its place if it broke off. False where that cannot be done now. */
  regenerate(): boolean {
    const last = this.#lastReply();
    return last !== undefined && this.#again(last.index);
  }

  /** Puts another conversation on the page. A reply that was cut off goes on with `resume`. */
  open(conversation: Conversation): void {
    this.#leave();
    this.#conversation = conversation;
    this.#showPath(0);
    if (!this.empty) this.hooks.onTurnAdded();
  }

  /** Goes on with a reply that a reload or a crash cut off, from its last word. False where there is none. */
  resume(): boolean {
    const engine = this.hooks.engine();
    const last = this.#lastReply();
    if (!engine || !last || this.busy || last.turn.end !== 'cut-off') return false;
    void this.#answer(engine, last.index, last.turn.text);
    return true;
  }

  /** Ends the reply that runs; what it said stays. */
  interrupt(): void {
    this.#running?.stop.abort();
  }

  /** As `interrupt`; and what waits for a model does so no more. */
  stop(): void {
    this.interrupt();
    if (!this.waiting || this.takeBack()) return;
    const { index, turn } = this.#lastReply()!;
    turn.end = 'stopped';
    this.#showPath(this.#shown.findIndex((shown) => shown.index === index));
    this.#keep();
    this.hooks.onEnd('stopped', undefined);
  }

  /** The message that waits for a model, if nothing has been said to it. False where there is none. */
  takeBack(): boolean {
    const { turns } = this.#conversation;
    const reply = this.#lastReply();
    if (!this.waiting || !reply || !saysNothing(reply.turn) || reply.turn.parent !== turns.length - 2) return false;
    const [question] = turns.splice(reply.turn.parent);
    this.#conversation.leaf = question!.parent;
    this.#showPath(this.#shown.length - 2);
    if (!this.empty) this.#keep();
    this.hooks.onTakenBack(question!.text, question!.attachments ?? []);
    return true;
  }

  clear(): void {
    this.open(newConversation(Date.now()));
  }

  #leave(): void {
    const running = this.#running;
    if (!running) return;
    running.turn.end = 'stopped';
    this.#keep();
    this.#release();
    running.stop.abort();
  }

  #ask({ parent, text, attachments }: { parent: number; text: string; attachments: readonly Attachment[] }): boolean {
    const engine = this.hooks.engine();
    if (this.busy || this.waiting || !(engine || this.hooks.expectsEngine())) return false;
    const { turns } = this.#conversation;
    const user: Turn = { parent, role: 'user', text, ...(attachments.length > 0 ? { attachments: [...attachments] } : {}) };
    if (this.#conversation.title === '') this.#conversation.title = titleOf(user);
    const asked = turns.push(user) - 1;
    const reply = this.#addReply(asked);
    this.#showPath(this.#shown.findIndex(({ index }) => turns[index]!.parent === parent));
    this.hooks.onTurnAdded();
    if (engine) void this.#answer(engine, reply);
    else this.#keep();
    return true;
  }

  /** The reply at `index` once more. */
  #again(index: number): boolean {
    const engine = this.hooks.engine();
    const turn = this.#conversation.turns[index]!;
    if (!engine || this.busy) return false;
    const broken = turn.end === 'failed' || saysNothing(turn);
    const at = this.#shown.findIndex((shown) => shown.index === index);
    const reply = broken ? index : this.#addReply(turn.parent);
    this.#conversation.leaf = reply;
    this.#showPath(broken ? at + 1 : at);
    void this.#answer(engine, reply);
    return true;
  }

  #addReply(parent: number): number {
    const index = this.#conversation.turns.push({ parent, role: 'assistant', text: '', end: 'cut-off' }) - 1;
    this.#conversation.leaf = index;
    return index;
  }

  #edit(index: number, text: string): boolean {
    const { parent, attachments = [] } = this.#conversation.turns[index]!;
    const sent = this.#ask({ parent, text, attachments });
    const edited = sent ? this.#shown.at(-2)?.view : undefined;
    if (edited instanceof UserView) edited.focusEdit();
    if (!sent) this.hooks.say(this.refusal);
    return false; // the editor went with its turn, or stays
  }

  /** Why nothing can be sent now. */
  get refusal(): string {
    if (this.busy) return 'A reply is running. Escape stops it.';
    return this.waiting ? 'A message waits for the model. Escape takes it back.' : 'No model is loaded.';
  }

  #branch(index: number, step: -1 | 1): void {
    if (this.busy || this.waiting) return;
    const branches = branchesAt(this.#conversation, index);
    const next = branches[branches.indexOf(index) + step];
    if (next === undefined) return;
    this.#conversation.leaf = newestLeaf(this.#conversation, next);
    const at = this.#shown.findIndex((shown) => shown.index === index);
    this.#showPath(at);
    this.#shown[at]!.view.focusBranch(step);
    this.hooks.onGrow();
    this.#keep();
    this.hooks.say(`Version ${branches.indexOf(next) + 1} of ${branches.length}`);
    this.resume();
  }

  /** Shows the branch that ends with the leaf; views before position `from` are right already. -1: only what is missing at the end. */
  #showPath(from: number): void {
    const path = pathOf(this.#conversation);
    const kept = from < 0 ? this.#shown.length : from;
    for (const { view } of this.#shown.splice(kept)) {
      view.root.remove();
      view.release();
    }
    for (const index of path.slice(kept)) {
      const view = this.#viewOf(index);
      this.#shown.push({ index, view });
      this.list.append(view.root);
    }
    this.#showPlaces();
    this.#showFreedom();
  }

  /** While a reply runs or waits, the conversation stays as it is. */
  #showFreedom(): void {
    for (const { view } of this.#shown) view.setFree(!this.busy && !this.waiting);
    if (this.#waiting === this.waiting) return;
    this.#waiting = this.waiting;
    this.hooks.onWaiting(this.#waiting);
  }

  #showPlaces(): void {
    for (const { index, view } of this.#shown) {
      const branches = branchesAt(this.#conversation, index);
      view.showPlace({ at: branches.indexOf(index), of: branches.length });
    }
  }

  #viewOf(index: number): TurnView {
    const { onGrow, onCopied } = this.hooks;
    const hooks = { onGrow, onCopied, onBranch: (step: -1 | 1) => this.#branch(index, step) };
    const turn = this.#conversation.turns[index]!;
    if (turn.role === 'user') return new UserView(turn, { ...hooks, onEdit: (text) => this.#edit(index, text) });
    const view = new ReplyView({ ...hooks, onRegenerate: () => this.#pressRegenerate(index) });
    view.show(turn);
    return view;
  }

  #pressRegenerate(index: number): void {
    if (!this.#again(index)) this.hooks.say('The model is not ready yet.');
    else if (this.#running) this.#running.view.focusRegenerate();
  }

  #lastReply(): { index: number; turn: Turn } | undefined {
    const { leaf, turns } = this.#conversation;
    const turn = turns[leaf];
    return turn?.role === 'assistant' ? { index: leaf, turn } : undefined;
  }

  /** `begun`: what the reply says so far, to go on from. */
  async #answer(engine: Engine, index: number, begun = ''): Promise<void> {
    const conversation = this.#conversation;
    const view = this.#shown.at(-1)!.view as ReplyView;
    const before = conversation.turns[index]!;
    const { parent, role } = before;
    const turn: Turn = { ...(begun === '' ? { parent, role } : before), text: begun, end: 'cut-off' };
    conversation.turns[index] = turn;
    conversation.updatedAt = Date.now();
    const running = { stop: new AbortController(), index, turn, view };
    this.#running = running;
    if (begun === '') view.start();
    else view.resume();
    this.#keep();
    this.#setBusy(true);
    try {
      await this.hooks.prepare(engine, conversation.id);
      const result = await this.#stream(engine, this.#request(conversation, turn), running);
      this.#finish(running, result);
    } catch (error) {
      const stopped = isAbort(error) && running.stop.signal.aborted;
      const current = this.#finish(running, { end: stopped ? 'stopped' : 'failed' });
      if (current && !stopped) this.hooks.onError(error, engine);
    }
  }

  #request(conversation: Conversation, { text, parent }: Turn): ChatRequest {
    const turns = pathOf({ turns: conversation.turns, leaf: parent }).map((each) => conversation.turns[each]!);
    const messages = toMessages(turns, this.hooks.system());
    if (text === '') return { messages };
    return { messages: [...messages, { role: 'assistant', content: text }], continue_final_message: true };
  }

  async #stream(engine: Engine, request: ChatRequest, running: Running): Promise<Result> {
    const { signal } = running.stop;
    const live = new LiveRate();
    const { id } = this.#conversation;
    const result: Result = { end: 'stop' };
    const options = { ...this.hooks.sampling(), stream: true, stream_options: { include_usage: true }, signal } as const;
    for await (const chunk of await engine.chat.completions.create({ ...request, ...options })) {
      if (this.#running !== running) break; // the conversation was left
      readEnd(chunk, result);
      if (!addWords(chunk, running)) continue;
      this.hooks.onWords(id, running.index, running.turn);
      const rate = live.add(performance.now());
      if (rate) this.hooks.onLiveRate(rate);
    }
    return result;
  }

  /** False if this reply's conversation was left in the meantime. */
  #finish(running: Running, { end, timings, usage }: Result): boolean {
    if (this.#running !== running) return false;
    running.turn.end = end;
    running.view.end(end, timings, usage);
    this.#conversation.updatedAt = Date.now();
    this.#keep();
    this.#release();
    this.hooks.onEnd(end, timings);
    return true;
  }

  #keep(): void {
    this.hooks.onChange(this.#conversation);
  }

  #release(): void {
    if (!this.#running) return;
    this.#running = undefined;
    this.#setBusy(false);
  }

  #setBusy(busy: boolean): void {
    this.#showFreedom();
    this.hooks.onBusy(busy);
  }
}

const saysNothing = ({ text, calls }: Turn): boolean => text === '' && !calls;

type Result = { end: ReplyEnd; timings?: Timings; usage?: Usage };

function readEnd(chunk: ChatCompletionChunk, result: Result): void {
  const reason = chunk.choices[0]?.finish_reason;
  if (chunk.timings) result.timings = chunk.timings;
  if (chunk.usage) result.usage = chunk.usage;
  if (reason) result.end = reason === 'length' ? 'length' : 'stop';
}

/** Words, thoughts and calls go to the turn and to its view. False where the chunk has none. */
function addWords({ choices: [choice] }: ChatCompletionChunk, { turn, view }: Running): boolean {
  const { content, reasoning_content: thought, tool_calls: calls = [] } = choice?.delta ?? {};
  if (thought) {
    turn.thoughts = (turn.thoughts ?? '') + thought;
    view.think(thought);
  }
  if (content) {
    turn.text += content;
    view.append(content);
  }
  for (const { index, id, function: call } of calls) {
    turn.calls ??= [];
    if (id) turn.calls[index] = { name: '', arguments: '' }; // it begins; a reply that goes on makes anew what was cut off
    const known = turn.calls[index]!;
    known.name += call?.name ?? '';
    known.arguments += call?.arguments ?? '';
    view.call(known, index);
  }
  return Boolean(content || thought || calls.length > 0);
}
