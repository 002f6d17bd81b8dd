/** An OpenAI-compatible server as a source of replies. Nothing is sent, not even a question for its models, before `allow` was called. */
import { EngineError, throwIfAborted } from '../errors';
import type { ChatRequest } from '../protocol/chat';
import { type EndpointAddress, endpointAddress } from './address';
import { type EndpointEvent, eventsOf } from './chunks';
import { ask } from './http';
import { type ApiKey, BoundKey, shownWords } from './key';

export type EndpointOptions = {
  /** Base address, as OpenAI's clients take it: https://llm.example/v1, http://localhost:11434/v1. */
  url: string | URL;
  /** As the server names it. Default: the first that it lists. */
  model?: string;
  /** Sent to this endpoint's origin only. */
  apiKey?: ApiKey;
};

/** Extensions that mean something to this runtime only. */
const OWN_FIELDS = ['signal', 'return_progress', 'allow_special_tokens', 'reasoning_budget_tokens', 'stream_options'];

export class Endpoint {
  readonly address: EndpointAddress;
  readonly #key: BoundKey | undefined;
  #model: string | undefined;
  #allowed = false;

  /** @throws EngineError 'invalid-request' */
  constructor({ url, model, apiKey }: EndpointOptions) {
    this.address = endpointAddress(url);
    if (model !== undefined && (typeof model !== 'string' || model === ''))
      throw new EngineError('invalid-request', "The endpoint's 'model' must be a name.", { field: 'model' });
    this.#model = model;
    this.#key = apiKey === undefined ? undefined : new BoundKey(apiKey, this.address.origin);
  }

  /** The user, or the page's developer, agrees to what is sent to this origin from here on. */
  allow(): void {
    this.#allowed = true;
  }

  /** As the server calls it; asks the server where none was named. @throws EngineError 'consent', 'endpoint'; AbortError */
  async model(signal?: AbortSignal): Promise<string> {
    this.#model ??= await this.#firstModel(signal);
    return this.#model;
  }

  /** A reply as it comes. Leaving the loop ends the request. @throws EngineError; AbortError */
  async *reply(request: ChatRequest, signal: AbortSignal | undefined): AsyncGenerator<EndpointEvent> {
    this.#checkAllowed();
    throwIfAborted(signal);
    const body = { ...bodyOf(request), model: await this.model(signal) };
    const startMs = performance.now();
    const { response, key } = await ask({ address: this.address, key: this.#key, path: '/chat/completions', body, signal });
    if (!response.body) throw new EngineError('endpoint', `${this.address.host} sent an empty answer.`);
    yield { type: 'prefill', done: 0, total: 0, ms: 0 };
    try {
      yield* eventsOf(response.body, startMs);
    } catch (error) {
      throwIfAborted(signal);
      throw readable(error, this.address, key);
    }
  }

  async #firstModel(signal: AbortSignal | undefined): Promise<string> {
    this.#checkAllowed();
    const { response } = await ask({ address: this.address, key: this.#key, path: '/models', signal });
    const list = (await response.json().catch(() => undefined)) as { data?: { id?: unknown }[] } | undefined;
    throwIfAborted(signal); // which may be why there is none
    const id = Array.isArray(list?.data) ? list.data[0]?.id : undefined;
    if (typeof id === 'string' && id !== '') return id;
    throw new EngineError('endpoint', `${this.address.host} lists no model. Name the one to use as 'model'.`);
  }

  #checkAllowed(): void {
    if (this.#allowed) return;
    throw new EngineError('consent', `Nothing was sent to ${this.address.host}: nobody has agreed to it.`);
  }
}

function bodyOf(request: ChatRequest): object {
  const fields = Object.entries(request).filter(([name, value]) => value !== undefined && !OWN_FIELDS.includes(name));
  return { ...Object.fromEntries(fields), stream: true, stream_options: { include_usage: true } };
}

function readable(error: unknown, { host }: EndpointAddress, key: string | undefined): EngineError {
  if (!(error instanceof EngineError))
    return new EngineError('endpoint', `The connection to ${host} broke in mid-reply. Try again.`, { cause: error });
  return new EngineError(error.code, shownWords(error.message, key));
}
