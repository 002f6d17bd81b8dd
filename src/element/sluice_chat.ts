/** The element: attributes and properties in, events out, and a life that begins only when somebody asks. */
import type {
  AnsweredBy,
  ApiKey,
  ChatEngine,
  ChatRequest,
  EngineConfig,
  FallbackRequest,
  LoadProgress,
  OnFallback,
  Pressure,
  Usage,
} from '../api';
import { EngineError, isAbort } from '../errors';
import { Answerer, type Wish } from './answerer';
import { ReflectedAttributes } from './attributes';
import { Conversation, type Turn } from './conversation';
import { frameNotice } from './frame';
import { KeptCopy } from './kept';
import { type ReplyEnd, streamReply } from './reply';
import { plainText, type RenderReply } from './reply_text';
import { type Action, ChatView } from './view';

/** A change of one of these is another engine. */
const ENGINE_ATTRIBUTES = ['model', 'gpu-budget', 'context', 'worker-url', 'endpoint', 'endpoint-model'];
const HERE = 'Answered on this device';
/** Names under which a key might be tried as an attribute, where every script and extension of the page reads it. */
const KEY_ATTRIBUTES = ['api-key', 'apikey', 'key', 'token'];
/** Set before the class was known, they hide its own. */
const PROPERTIES = ['model', 'gpuBudget', 'context', 'endpoint', 'endpointModel', 'workerUrl', 'system', 'apiKey'];

/** Of the event `done`. */
export type DoneDetail = {
  message: { role: 'assistant'; content: string };
  finishReason: Exclude<ReplyEnd['finishReason'], 'failed'>;
  usage: Usage | undefined;
  answeredBy: AnsweredBy;
};

/** `progress`, `ready`, `token`, `pressure`, `done`, `error`; like the platform's own of these names they do not bubble. */
export interface SluiceChatEvents {
  progress: CustomEvent<LoadProgress>;
  ready: CustomEvent<{ model: string; answeredBy: AnsweredBy }>;
  token: CustomEvent<{ text: string }>;
  /** Memory, a file or the GPU was taken away. `continueWith` in a listener goes on with less. */
  pressure: CustomEvent<Pressure>;
  done: CustomEvent<DoneDetail>;
  error: CustomEvent<{ error: unknown }>;
}

/** The element's class, defined as 'sluice-chat' by the import. Attributes are described in docs/embed.md. */
export class SluiceChat extends ReflectedAttributes {
  static readonly observedAttributes = [...ENGINE_ATTRIBUTES, 'persist'];

  /** Fields of every request: temperature, max_tokens, … */
  request: Partial<ChatRequest> = early(this, 'request', {});
  /** Further options of the engine; elements share one only where these agree too. */
  engineOptions: EngineConfig = early(this, 'engineOptions', {});
  /** The developer's agreement to an endpoint, in place of the question to the user. */
  onFallback: OnFallback | undefined = early(this, 'onFallback', undefined);
  /** With an endpoint beside a model: slower than this on this device goes to the endpoint. Default 1. */
  leastTokensPerSecond: number | undefined = early(this, 'leastTokensPerSecond', undefined);
  /** How replies become elements; see `RenderReply`. */
  renderReply: RenderReply = early(this, 'renderReply', plainText);

  readonly #conversation = new Conversation();
  readonly #kept = new KeptCopy(this, (error) => this.#report(error));
  readonly #view: ChatView;
  readonly #answerer: Answerer;
  /** The load that is under way or done. */
  #loading: Promise<boolean> | undefined;
  #running: AbortController | undefined;
  /** A reply that the next engine makes again. */
  #again: AbortController | undefined;
  /** Ends the question that is being asked. */
  #asking: AbortController | undefined;
  #agreedOrigin: string | undefined;
  #apiKey: ApiKey | undefined;
  /** The last read of what was kept: one before it, or before a deletion, is of no use any more. */
  #restoring: Promise<unknown> | undefined;
  #removal: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    super();
    this.#view = new ChatView(
      this.attachShadow({ mode: 'open' }),
      {
        onSend: (text) => this.send(text),
        onStop: () => this.stop(),
        onAction: (action) => this.#act(action),
        onClear: () => void this.clear(),
        onEdit: () => this.#edit(),
      },
      () => this.renderReply,
    );
    this.#answerer = new Answerer({
      onProgress: (progress) => this.#onProgress(progress),
      onPressure: (pressure) => this.#onPressure(pressure),
      agree: (request) => this.#agree(request),
      onLost: () => this.#onLost(),
    });
    this.#showIdle();
  }

  /**
   * The endpoint's key, or a function that gives it; for this endpoint only, and forgotten when it changes. Cannot be read back.
   * @throws EngineError 'invalid-request' where there is no endpoint to bind it to
   */
  set apiKey(key: ApiKey | undefined) {
    if (key !== undefined && this.endpoint === undefined)
      throw new EngineError('invalid-request', "Set 'endpoint' before 'apiKey': a key belongs to one endpoint.");
    this.#apiKey = key;
    if (this.state !== 'idle' && this.#answerer.engine?.answeredBy.place !== 'device') this.#release();
  }

  /** 'ready': the next message is answered at once. */
  get state(): 'idle' | 'loading' | 'ready' {
    if (this.#answerer.engine) return 'ready';
    return this.#answerer.loading ? 'loading' : 'idle';
  }

  /** A reply is being made. */
  get busy(): boolean {
    return this.#running !== undefined;
  }

  /** A copy. */
  get turns(): Turn[] {
    return this.#conversation.keep().turns;
  }

  /** Loads the model, or gets the endpoint agreed to. What goes wrong is an `error` event, and false. */
  load(): Promise<boolean> {
    return this.#loading ?? this.#load();
  }

  /** Adds a message, and loads what is to answer it where that is not done yet. False where it cannot be taken now. */
  send(text: string): boolean {
    if (this.busy || text.trim() === '' || (this.#conversation.waiting && this.state !== 'idle')) return false;
    this.#conversation.add({ role: 'user', text });
    this.#view.transcript.addUser(text);
    this.#view.setEmpty(false);
    this.#keep();
    if (this.#answerer.engine) void this.#answer(this.#answerer.engine);
    else void this.load(); // answers when it is done, also one that is under way
    return true;
  }

  /** Ends the reply that is being made; what it said stays. */
  stop(): void {
    this.#running?.abort();
  }

  /**
   * Loads again with this budget of GPU memory, '2GB' or bytes, as `load` does. A reply that is under way is made again then, so that in a
   * listener of `pressure` nobody need ask twice.
   */
  continueWith(gpuBudget: string | number): Promise<boolean> {
    this.#again = this.#running;
    this.#release();
    this.gpuBudget = String(gpuBudget);
    return this.load();
  }

  /** Forgets the conversation, and what `persist` has kept of it. */
  async clear(): Promise<void> {
    this.#running?.abort();
    this.#running = undefined;
    this.#restoring = undefined;
    this.#conversation.clear();
    this.#showTurns();
    this.#view.setBusy(false);
    this.#view.showProblem(undefined);
    this.#view.announce('Conversation deleted');
    await this.#kept.delete();
  }

  connectedCallback(): void {
    clearTimeout(this.#removal);
    this.#removal = undefined;
    for (const name of PROPERTIES) this.#upgrade(name);
    void frameNotice().then((text) => this.#view.showNotice(text));
    void this.#restore();
  }

  /** A move is a removal and an insertion in one task; `moveBefore` does not even come here. */
  disconnectedCallback(): void {
    clearTimeout(this.#removal);
    this.#removal = setTimeout(() => {
      if (!this.isConnected) this.#release();
    });
  }

  /** Its presence alone keeps the browser from calling the two above when `moveBefore` moves the element. */
  connectedMoveCallback(): void {}

  attributeChangedCallback(name: string, before: string | null, now: string | null): void {
    if (before === now) return;
    if (name === 'persist') return void this.#restore();
    if (name === 'endpoint') {
      this.#apiKey = undefined;
      this.#agreedOrigin = undefined;
    }
    this.#release();
  }

  override addEventListener<K extends keyof SluiceChatEvents>(
    type: K,
    listener: (this: SluiceChat, event: SluiceChatEvents[K]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  override addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject,
    options?: boolean | AddEventListenerOptions,
  ): void;
  override addEventListener(...args: Parameters<HTMLElement['addEventListener']>): void {
    super.addEventListener(...args);
  }

  #act(action: Action): void {
    if (action === 'cancel' || action === 'unload') this.#release();
    else void this.load();
  }

  #wish(): Wish {
    const { model, endpoint, endpointModel, gpuBudget, context, workerUrl } = this;
    const wrong = KEY_ATTRIBUTES.find((name) => this.hasAttribute(name));
    if (wrong)
      throw new EngineError(
        'invalid-request',
        `A key in the attribute '${wrong}' can be read by anything in this page. Set the property apiKey instead.`,
      );
    return {
      model,
      options: {
        contextOverflow: 'truncate', // a chat goes on
        ...this.engineOptions,
        ...(gpuBudget === undefined ? {} : { gpuBudget }),
        ...(context === undefined ? {} : { contextTokens: context }),
        ...(workerUrl === undefined ? {} : { workerUrl }),
      },
      endpoint: endpoint === undefined ? undefined : { url: endpoint, model: endpointModel, apiKey: this.#apiKey },
      leastTokensPerSecond: this.leastTokensPerSecond,
    };
  }

  async #agree(request: FallbackRequest): Promise<boolean> {
    const { origin, host } = request;
    if (this.#agreedOrigin === origin) return true;
    if (this.onFallback) return (await this.onFallback(request)) === true;
    const anew = this.#conversation.strange({ place: 'endpoint', origin, host });
    this.#asking = new AbortController();
    const agreed = await this.#view.askToSend(request, anew, this.#asking.signal);
    if (agreed) this.#agreedOrigin = origin;
    return agreed;
  }

  #load(): Promise<boolean> {
    this.#view.showProblem(undefined);
    this.#view.showStatus({ action: 'cancel', text: 'Starting', progress: 0 });
    this.#view.announce('Loading');
    const isCurrent = () => this.#loading === loading;
    const loading: Promise<boolean> = this.#open().then(
      (engine) => {
        if (isCurrent()) this.#onReady(engine);
        return isCurrent();
      },
      (error) => {
        if (isCurrent()) this.#onLoadFailed(error);
        return false;
      },
    );
    this.#loading = loading;
    return loading;
  }

  async #open(): Promise<ChatEngine> {
    return this.#answerer.load(this.#wish());
  }

  #onProgress(progress: LoadProgress): void {
    if (!this.#answerer.engine) this.#view.showStatus({ action: 'cancel', text: progress.text, progress: progress.progress });
    this.#emit('progress', progress);
  }

  /** A GPU that the engine brings back by itself takes a while, in which a reply stands still. */
  #onPressure(pressure: Pressure): void {
    const { recovery, gpuBudgetBytes } = pressure;
    if (this.#answerer.engine && (recovery === 'started' || recovery === 'done')) {
      const less = gpuBudgetBytes === undefined ? '' : ' with less memory';
      const text = recovery === 'started' ? `The GPU was lost: loading again${less}` : `${HERE}${less && `,${less}`}`;
      this.#view.showStatus({ action: 'unload', text });
      this.#view.announce(recovery === 'started' ? text : 'The reply goes on');
    }
    this.#emit('pressure', pressure);
  }

  #onReady(engine: ChatEngine): void {
    const { answeredBy, info } = engine;
    const text = answeredBy.place === 'device' ? HERE : `Answered by ${answeredBy.host}`;
    this.#view.showStatus({ action: 'unload', text });
    const strange = this.#conversation.strange(answeredBy);
    this.#conversation.answeredBy(answeredBy);
    if (strange) this.#showTurns();
    this.#view.announce('Ready');
    this.#emit('ready', { model: info.model, answeredBy });
    if (this.#conversation.waiting && !this.busy) void this.#answer(engine);
  }

  #onLoadFailed(error: unknown): void {
    this.#release();
    if (isAbort(error)) return;
    this.#view.showStatus({ action: 'retry', text: 'Not loaded' });
    this.#report(error);
  }

  #onLost(): void {
    this.#release();
    this.#report(
      new EngineError('device-lost', 'The connection to the GPU was lost. Load the model again; the conversation is kept.'),
    );
  }

  async #answer(engine: ChatEngine): Promise<void> {
    const running = new AbortController();
    this.#running = running;
    const { answeredBy } = engine;
    const messages = this.#conversation.messages(this.system);
    this.#conversation.begin();
    this.#keep(); // with whom it is: after a reload in mid-reply the message is for nobody else
    const host = answeredBy.place === 'endpoint' ? answeredBy.host : undefined;
    const turn = this.#conversation.add({ role: 'assistant', text: '', ...(host === undefined ? {} : { host }) });
    const view = this.#view.transcript.addReply(host);
    this.#view.setBusy(true);
    this.#view.showProblem(undefined);
    this.#view.announce('The reply begins');
    const { finishReason, usage, failure } = await streamReply(engine, { ...this.request, messages }, running.signal, (text) => {
      turn.text += text;
      view.append(text);
      this.#emit('token', { text });
    });
    if (this.#running !== running) return; // the conversation was deleted
    this.#running = undefined;
    this.#view.setBusy(false);
    if (this.#again === running) return this.#answerAgain();
    view.end(noteOf(finishReason));
    this.#keep();
    if (finishReason === 'failed') return this.#onReplyFailed(failure, turn);
    this.#view.announce(finishReason === 'stopped' ? 'The reply was stopped' : 'The reply is complete');
    this.#emit('done', { message: { role: 'assistant', content: turn.text }, finishReason, usage, answeredBy });
  }

  /** By the engine that is being loaded, or is there already. */
  #answerAgain(): void {
    this.#conversation.takeBackReply();
    this.#showTurns();
    if (this.#answerer.engine) void this.#answer(this.#answerer.engine);
    else if (this.state === 'idle') this.#handBack();
  }

  /** A reply of which nothing came is none: the message goes back to where it was written. */
  #onReplyFailed(error: unknown, turn: Turn): void {
    if (turn.text === '') {
      this.#conversation.takeBackReply();
      this.#showTurns();
    }
    if (error instanceof EngineError && (error.code === 'unloaded' || error.code === 'device-lost')) this.#release();
    this.#handBack();
    this.#report(error);
  }

  /** A message that nobody is going to answer now returns to the box, unless something else is being written there. */
  #handBack(): void {
    const { composer } = this.#view;
    if (!this.#conversation.waiting || composer.input.value !== '') return;
    composer.fill(this.#conversation.takeBack()!.text);
    this.#showTurns();
    this.#keep();
  }

  #edit(): void {
    if (this.busy) return;
    const turn = this.#conversation.takeBack();
    if (!turn) return;
    this.#view.composer.fill(turn.text);
    this.#view.composer.input.focus(); // where the text went that was asked for
    this.#showTurns();
    this.#keep();
  }

  #report(error: unknown): void {
    this.#view.showProblem(error instanceof Error ? error.message : String(error));
    this.#emit('error', { error });
  }

  /** Aborts what runs and lets the engine go; the conversation stays. */
  #release(): void {
    this.#loading = undefined;
    this.#asking?.abort();
    this.#running?.abort();
    this.#answerer.release();
    if (!this.busy) this.#handBack();
    this.#showIdle();
  }

  #showIdle(): void {
    const endpointAlone = this.model === undefined && this.endpoint !== undefined;
    if (endpointAlone) this.#view.showStatus({ action: 'start', text: 'Nothing is sent until you agree.' });
    else this.#view.showStatus({ action: 'load', text: 'Nothing is loaded until you ask.' });
  }

  #showTurns(): void {
    this.#view.transcript.show(this.#conversation.turns);
    this.#view.setEmpty(this.#conversation.empty);
  }

  #keep(): void {
    void this.#kept.write(this.#conversation.keep());
  }

  async #restore(): Promise<void> {
    if (!this.isConnected || !this.#conversation.empty) return;
    const restoring = this.#kept.read();
    this.#restoring = restoring;
    const kept = await restoring;
    if (kept === undefined || this.#restoring !== restoring || !this.#conversation.empty) return;
    this.#conversation.restore(kept);
    const answeredBy = this.#answerer.engine?.answeredBy;
    if (answeredBy) this.#conversation.answeredBy(answeredBy); // was there first, and may be a stranger to it
    this.#showTurns();
  }

  #emit<K extends keyof SluiceChatEvents>(type: K, detail: SluiceChatEvents[K]['detail']): void {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #upgrade(name: string): void {
    if (!Object.hasOwn(this, name)) return;
    const own = this as unknown as Record<string, unknown>;
    const value = own[name];
    delete own[name];
    own[name] = value;
  }
}

/** What a property was set to before the element's class was known; a field would write over it. */
function early<T>(element: HTMLElement, name: string, otherwise: T): T {
  return Object.hasOwn(element, name) ? (element as unknown as Record<string, T>)[name]! : otherwise;
}

function noteOf(finishReason: ReplyEnd['finishReason']): string {
  if (finishReason === 'failed') return 'broken off';
  if (finishReason === 'stopped') return 'stopped';
  return finishReason === 'length' ? 'cut off at the longest length' : '';
}
