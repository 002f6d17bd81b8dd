import { EngineError } from '../errors';
import type {
  ChatChoice,
  ChatCompletion,
  ChatCompletionChunk,
  ChatLogprobs,
  ChatRequest,
  ReplyDelta,
  TokenLogprob,
} from '../protocol/chat';
import type { ChoiceEnd } from '../protocol/engine';
import { chatRequest } from './chat_request';
import type { EngineClient } from './client';
import { mapEvents, progressOf, type ReplyEvent } from './event_stream';
import { isObject, signalOf } from './request';
import type { CreateChatCompletion, RequestOptions } from './types';

/** Whoever makes replies: this device, or a server. */
export type ReplySource = {
  readonly model: string;
  /** @throws EngineError 'invalid-request' that names the field */
  reply(request: ChatRequest, signal: AbortSignal | undefined): AsyncIterableIterator<ReplyEvent>;
};

export function engineReplies(client: EngineClient): ReplySource {
  return {
    get model() {
      return client.info.model;
    },
    reply: (request, signal) => client.generate(chatRequest(request, client.info.vocabSize), signal),
  };
}

type SaidEvent = Extract<ReplyEvent, { type: 'text' | 'reasoning' | 'tool_call' }>;

/** `engine.chat.completions.create`: OpenAI's shapes, with `timings` beside `usage`. */
export function chatCompletions(source: ReplySource): CreateChatCompletion {
  const create = async (request: ChatRequest, options?: RequestOptions) => {
    const signal = isObject(request) ? signalOf(request, options) : undefined; // whatever it is else, the source refuses it
    const events = source.reply(request, signal);
    if (!request.stream) return wholeChat(source.model, events);
    const chunks = new ChatChunks(source.model, request);
    return mapEvents(events, (event) => chunks.of(event));
  };
  return create as CreateChatCompletion;
}

/** From events to chunks. The first event comes when the prompt is known to fit, and makes the first chunk. */
class ChatChunks {
  readonly #head: Omit<ChatCompletionChunk, 'choices'>;
  readonly #request: ChatRequest;
  #choice = 0;
  #begun = false;

  constructor(model: string, request: ChatRequest) {
    const created = Math.floor(Date.now() / 1000);
    const counts = request.stream_options?.include_usage === true;
    this.#head = {
      id: `chatcmpl-${crypto.randomUUID()}`,
      object: 'chat.completion.chunk',
      created,
      model,
      ...(counts ? { usage: null } : {}), // as OpenAI has it in all chunks but the last
    };
    this.#request = request;
  }

  of(event: ReplyEvent): ChatCompletionChunk[] {
    const first = this.#begun ? [] : [this.#chunk({ role: 'assistant', content: '' })];
    this.#begun = true;
    return [...first, ...this.#chunks(event)];
  }

  #chunks(event: ReplyEvent): ChatCompletionChunk[] {
    if (event.type === 'prefill') {
      return this.#request.return_progress ? [{ ...this.#chunk({}), prompt_progress: progressOf(event) }] : [];
    }
    if (event.type === 'choice_end') {
      const last = this.#chunk({}, event);
      this.#choice++;
      this.#begun = false;
      return [last];
    }
    if (event.type !== 'done') return [this.#chunk(deltaOf(event), undefined, 'logprobs' in event ? event.logprobs : undefined)];
    const { usage, timings } = event;
    const last = { ...this.#chunk({}, event), timings };
    return this.#request.stream_options?.include_usage ? [last, { ...this.#head, choices: [], usage, timings }] : [last];
  }

  #chunk(delta: ReplyDelta, end?: ChoiceEnd, logprobs?: TokenLogprob[]): ChatCompletionChunk {
    const choice = { index: this.#choice, delta, logprobs: logprobsOf(logprobs), finish_reason: end?.finishReason ?? null };
    return { ...this.#head, choices: [end?.interrupted ? { ...choice, interrupted: true } : choice] };
  }
}

function deltaOf(event: SaidEvent): ReplyDelta {
  if (event.type === 'text') return { content: event.text };
  if (event.type === 'reasoning') return { reasoning_content: event.text };
  const { index, id, name, arguments: text } = event;
  return {
    tool_calls: [
      id === undefined
        ? { index, function: { arguments: text } }
        : { index, id, type: 'function', function: { name, arguments: text } },
    ],
  };
}

function logprobsOf(content: TokenLogprob[] | undefined): ChatLogprobs | null {
  return content ? { content, refusal: null } : null;
}

async function wholeChat(model: string, events: AsyncIterable<ReplyEvent>): Promise<ChatCompletion> {
  const choices: ChatChoice[] = [];
  let said: SaidEvent[] = [];
  for await (const event of events) {
    if (event.type === 'prefill') continue;
    if (event.type !== 'choice_end' && event.type !== 'done') {
      said.push(event);
      continue;
    }
    choices.push(choiceOf(choices.length, said, event));
    said = [];
    if (event.type !== 'done') continue;
    return {
      id: `chatcmpl-${crypto.randomUUID()}`,
      object: 'chat.completion',
      created: Math.floor(Date.now() / 1000),
      model,
      choices,
      usage: event.usage,
      timings: event.timings,
    };
  }
  throw new EngineError('internal', 'The reply ended without its last event.');
}

function choiceOf(index: number, said: readonly SaidEvent[], { finishReason, interrupted }: ChoiceEnd): ChatChoice {
  let content = '';
  let reasoning = '';
  const calls: { id: string; type: 'function'; function: { name: string; arguments: string } }[] = [];
  for (const event of said) {
    if (event.type === 'text') content += event.text;
    else if (event.type === 'reasoning') reasoning += event.text;
    else if (event.id === undefined) calls[event.index]!.function.arguments += event.arguments;
    else calls[event.index] = { id: event.id, type: 'function', function: { name: event.name!, arguments: event.arguments } };
  }
  const logprobs = said.flatMap((event) => ('logprobs' in event ? (event.logprobs ?? []) : []));
  return {
    index,
    message: {
      role: 'assistant',
      content: content === '' && calls.length > 0 ? null : content,
      refusal: null,
      ...(calls.length > 0 ? { tool_calls: calls } : {}),
      ...(reasoning === '' ? {} : { reasoning_content: reasoning }),
    },
    logprobs: logprobsOf(logprobs.length > 0 ? logprobs : undefined),
    finish_reason: finishReason,
    ...(interrupted ? { interrupted } : {}),
  };
}
