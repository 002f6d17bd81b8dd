/** A server behind the same API. It becomes an engine only once somebody has agreed that messages go there. */
import { Endpoint, type EndpointOptions } from '../endpoint/endpoint';
import { EngineError, isAbort, throwIfAborted, unlessAborted } from '../errors';
import type { ChatRequest } from '../protocol/chat';
import { chatCompletions, type ReplySource } from './chat_completions';
import { chatRequest } from './chat_request';
import type { ReplyEvent } from './event_stream';
import { checkCallback } from './options';
import { fieldError } from './request';
import type { ChatEngine, FallbackRequest, OnFallback } from './types';

/** Token ids of a server's model are its own affair. */
const ANY_VOCABULARY = Number.MAX_SAFE_INTEGER;

type Running = { controller: AbortController; why: 'interrupted' | 'unloaded' | 'left' | undefined };

/** @throws EngineError 'consent' unless `onFallback` agrees; 'invalid-request', 'endpoint'; AbortError */
export async function endpointEngine(
  options: EndpointOptions,
  why: Pick<FallbackRequest, 'reason' | 'message'>,
  { onFallback, signal }: { onFallback: OnFallback | undefined; signal: AbortSignal | undefined },
): Promise<ChatEngine> {
  checkCallback('onFallback', onFallback);
  throwIfAborted(signal);
  const endpoint = new Endpoint(options);
  const { origin, host } = endpoint.address;
  const agreed = await unlessAborted(Promise.resolve(onFallback?.({ origin, host, ...why })), signal);
  if (agreed !== true)
    throw new EngineError(
      'consent',
      `Nothing was sent to ${host}: ${onFallback ? 'it was not agreed to' : "there is no 'onFallback' to agree to it"}. ${why.message}`,
    );
  endpoint.allow();
  const replies = new EndpointReplies(endpoint, await endpoint.model(signal));
  return {
    info: { model: replies.model },
    answeredBy: { place: 'endpoint', host, origin },
    chat: { completions: { create: chatCompletions(replies) } },
    interruptGenerate: () => replies.endAll('interrupted'),
    unload: async () => replies.unload(),
  };
}

class EndpointReplies implements ReplySource {
  readonly #running = new Set<Running>();
  #unloaded = false;

  constructor(
    private readonly endpoint: Endpoint,
    readonly model: string,
  ) {}

  reply(request: ChatRequest, signal: AbortSignal | undefined): AsyncIterableIterator<ReplyEvent> {
    if (this.#unloaded) throw unloaded();
    checkForEndpoint(request);
    return this.#reply(request, signal);
  }

  endAll(why: 'interrupted' | 'unloaded'): void {
    for (const running of this.#running) {
      running.why ??= why;
      running.controller.abort();
    }
  }

  unload(): void {
    this.#unloaded = true;
    this.endAll('unloaded');
  }

  /** An iterator by hand: a generator would hold `return` back until the next word comes. */
  #reply(request: ChatRequest, signal: AbortSignal | undefined): AsyncIterableIterator<ReplyEvent> {
    const running: Running = { controller: new AbortController(), why: undefined };
    const events = this.#events(request, running, signal);
    return {
      next: () => events.next(),
      return: () => {
        running.why ??= 'left';
        running.controller.abort();
        return events.return(undefined);
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  async *#events(request: ChatRequest, running: Running, signal: AbortSignal | undefined): AsyncGenerator<ReplyEvent, undefined> {
    if (this.#unloaded) throw unloaded(); // since the reply was asked for
    const signals = signal ? [signal, running.controller.signal] : [running.controller.signal];
    this.#running.add(running);
    let pieces = 0;
    const startMs = performance.now();
    try {
      for await (const event of this.endpoint.reply(request, AbortSignal.any(signals))) {
        if (event.type !== 'prefill' && event.type !== 'done') pieces++;
        yield event;
      }
    } catch (error) {
      if (!isAbort(error) || !running.why || signal?.aborted) throw error;
      if (running.why === 'unloaded') throw unloaded();
      if (running.why === 'left') return;
      yield interruptedAfter(pieces, performance.now() - startMs);
    } finally {
      this.#running.delete(running);
    }
  }
}

/** What a server would read otherwise than we do, besides what no engine takes. @throws EngineError 'invalid-request' */
function checkForEndpoint(request: ChatRequest): void {
  chatRequest(request, ANY_VOCABULARY);
  if ((request.n ?? 1) > 1) throw fieldError('n', 'must be 1 where an endpoint answers');
  if (request.response_format?.type === 'grammar')
    throw fieldError('response_format', "cannot be a grammar where an endpoint answers: servers differ; use 'json_schema'");
}

/** A server that was cut off tells no counts; each piece is about a token. */
function interruptedAfter(pieces: number, ms: number): ReplyEvent {
  const usage = { prompt_tokens: 0, completion_tokens: pieces, total_tokens: pieces };
  const timings = { prefillTokens: 0, prefillMs: 0, decodeTokens: pieces, decodeMs: ms };
  return { type: 'done', finishReason: 'stop', interrupted: true, usage, timings };
}

function unloaded(): EngineError {
  return new EngineError('unloaded', 'The engine was unloaded. Create a new one.');
}
