/** Server-sent events of a chat completion as our own events. What a server sends is untrusted: only fields of the right type are read. */
import { EventSourceParserStream } from 'eventsource-parser/stream';
import { EngineError } from '../errors';
import type { FinishReason, Timings, Usage } from '../protocol/chat';
import type { GenerateEvent } from '../protocol/engine';

export type EndpointEvent = Exclude<GenerateEvent, { type: 'error' | 'choice_end' }>;

/** More than any event of a reply; a server that sends one without an end must not fill the page's memory. */
const LONGEST_EVENT = 1 << 20;

/**
 * 'done' comes last, once. Times are the page's own: waiting for the first word is the prefill.
 * @throws EngineError 'endpoint' where the server reports an error, or stops in mid-reply.
 */
export async function* eventsOf(body: ReadableStream<Uint8Array>, startMs: number): AsyncGenerator<EndpointEvent> {
  const parser = new EventSourceParserStream({ maxBufferSize: LONGEST_EVENT });
  const reply = new Reply(startMs);
  const events = body.pipeThrough(new TextDecoderStream() as TransformStream<Uint8Array, string>).pipeThrough(parser);
  for await (const { data } of readAll(events)) {
    if (data === '[DONE]') break;
    yield* reply.of(parse(data));
  }
  yield reply.end();
}

/** Streams cannot be iterated in every browser that has WebGPU. Leaving early cancels, and with it the request. */
async function* readAll<T>(stream: ReadableStream<T>): AsyncGenerator<T> {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

class Reply {
  #finish: FinishReason | undefined;
  #usage: Usage | undefined;
  #firstMs: number | undefined;
  #pieces = 0;
  #calls = 0;

  constructor(private readonly startMs: number) {}

  *of(chunk: Fields): Generator<EndpointEvent> {
    const error = chunk.error;
    if (isFields(error) || typeof error === 'string') throw failure(isFields(error) ? error.message : error);
    if (isFields(chunk.usage)) this.#usage = usageOf(chunk.usage);
    const choice = Array.isArray(chunk.choices) ? (chunk.choices[0] as unknown) : undefined;
    if (!isFields(choice)) return;
    if (isFields(choice.delta)) yield* this.#delta(choice.delta);
    if (typeof choice.finish_reason === 'string') this.#finish = finishOf(choice.finish_reason);
  }

  end(): EndpointEvent {
    if (!this.#finish) throw new EngineError('endpoint', 'The server stopped in mid-reply. Try again.');
    const usage = this.#usage ?? { prompt_tokens: 0, completion_tokens: this.#pieces, total_tokens: this.#pieces };
    const now = performance.now();
    const first = this.#firstMs ?? now;
    const timings: Timings = {
      prefillTokens: usage.prompt_tokens,
      prefillMs: first - this.startMs,
      decodeTokens: Math.max(0, usage.completion_tokens - 1),
      decodeMs: now - first,
    };
    return { type: 'done', finishReason: this.#finish, usage, timings };
  }

  *#delta(delta: Fields): Generator<EndpointEvent> {
    const thought = delta.reasoning_content ?? delta.reasoning; // vLLM and llama.cpp; others
    if (typeof thought === 'string' && thought !== '') yield this.#counted({ type: 'reasoning', text: thought });
    if (typeof delta.content === 'string' && delta.content !== '') yield this.#counted({ type: 'text', text: delta.content });
    const calls = Array.isArray(delta.tool_calls) ? (delta.tool_calls as unknown[]) : [];
    for (const call of calls) {
      if (isFields(call)) yield* this.#call(call);
    }
  }

  /** The first piece of a call has its id and name; a server that gives no id gets one made here. */
  *#call({ index: at, id, function: called }: Fields): Generator<EndpointEvent> {
    const { name, arguments: text } = isFields(called) ? called : {};
    // A server that does not number them sends them one after the other.
    const next = typeof name === 'string' ? this.#calls : this.#calls - 1;
    const index = Number.isInteger(at) ? (at as number) : next;
    const piece = typeof text === 'string' ? text : '';
    if (index >= 0 && index < this.#calls) {
      yield this.#counted({ type: 'tool_call', index, arguments: piece });
    } else if (typeof name === 'string' && index === this.#calls) {
      this.#calls++;
      const callId = typeof id === 'string' && id !== '' ? id : `call_${crypto.randomUUID()}`;
      yield this.#counted({ type: 'tool_call', index, id: callId, name, arguments: piece });
    }
  }

  #counted(event: EndpointEvent): EndpointEvent {
    this.#firstMs ??= performance.now();
    this.#pieces++;
    return event;
  }
}

type Fields = Record<string, unknown>;

function parse(data: string): Fields {
  try {
    const parsed: unknown = JSON.parse(data);
    if (isFields(parsed)) return parsed;
  } catch {
    // said below
  }
  throw new EngineError('endpoint', 'The server sent something that is no chat completion. Is it OpenAI-compatible?');
}

function finishOf(reason: string): FinishReason {
  if (reason === 'length') return 'length';
  if (reason === 'tool_calls' || reason === 'function_call') return 'tool_calls';
  if (reason === 'content_filter') throw new EngineError('endpoint', 'The server’s content filter ended the reply.');
  return 'stop';
}

function usageOf({ prompt_tokens: prompt, completion_tokens: completion, prompt_tokens_details: details }: Fields): Usage {
  const [promptTokens, completionTokens] = [countOf(prompt), countOf(completion)];
  const cached = isFields(details) ? countOf(details.cached_tokens) : 0;
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    ...(cached > 0 ? { prompt_tokens_details: { cached_tokens: cached } } : {}),
  };
}

const countOf = (value: unknown): number => (Number.isSafeInteger(value) && (value as number) > 0 ? (value as number) : 0);

/** In the server's own words, whole: whoever shows them takes the key out and cuts them. */
function failure(message: unknown): EngineError {
  const said = typeof message === 'string' ? ` It says: ${message}` : '';
  return new EngineError('endpoint', `The server broke off the reply.${said}`);
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
