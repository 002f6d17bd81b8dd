import { EngineError } from '../errors';
import type { ChatCompletion, ChatCompletionChunk, ChatRequest } from '../protocol/chat';
import type { GenerateRequest } from '../protocol/engine';
import type { EngineClient } from './client';
import { mapEvents } from './event_stream';
import { checkRequestObject, toGenerateRequest } from './request';
import type { CreateChatCompletion } from './types';

const roles = ['system', 'user', 'assistant', 'tool'];

/** `engine.chat.completions.create`: OpenAI's shapes, with `timings` beside `usage`. */
export function chatCompletions(client: EngineClient): CreateChatCompletion {
  const create = async (request: ChatRequest & { stream?: boolean }) => {
    checkRequestObject(request);
    const generate = toGenerateRequest(request, chatPrompt(request), [
      'messages',
      'chat_template_kwargs',
      'continue_final_message',
    ]);
    return request.stream ? streamChat(client, request, generate) : wholeChat(client, request, generate);
  };
  return create as CreateChatCompletion;
}

function chatPrompt({
  messages,
  chat_template_kwargs: kwargs,
  continue_final_message: goOn,
}: ChatRequest): GenerateRequest['prompt'] {
  const refuse = (what: string) => {
    throw new EngineError('invalid-request', what);
  };
  if (!Array.isArray(messages) || messages.length === 0) refuse("'messages' must be a list with at least one message.");
  for (const [i, message] of messages.entries()) {
    if (!roles.includes(message?.role)) refuse(`'messages[${i}].role' must be one of ${roles.join(', ')}.`);
    if (!isContent(message.content)) refuse(`'messages[${i}].content' must be a string, a list of parts or null.`);
  }
  if (kwargs !== undefined && (typeof kwargs !== 'object' || kwargs === null))
    refuse("'chat_template_kwargs' must be an object.");
  if (goOn !== undefined && typeof goOn !== 'boolean') refuse("'continue_final_message' must be true or false.");
  if (goOn && messages.at(-1)?.role !== 'assistant')
    refuse("'continue_final_message' needs a last message of the assistant's to go on from.");
  return {
    messages: messages as Record<string, unknown>[],
    templateKwargs: { ...kwargs, enable_thinking: kwargs?.enable_thinking ?? false },
    ...(goOn ? { continueFinal: true } : {}),
  };
}

function isContent(content: unknown): boolean {
  return content === null || typeof content === 'string' || Array.isArray(content);
}

/** Starts at once, so that a wrong request rejects before the first chunk is asked for. */
function streamChat(client: EngineClient, request: ChatRequest, generate: GenerateRequest): AsyncIterable<ChatCompletionChunk> {
  const head = {
    id: `chatcmpl-${crypto.randomUUID()}`,
    object: 'chat.completion.chunk' as const,
    created: Math.floor(Date.now() / 1000),
    model: client.info.model,
  };
  const chunk = (delta: { role?: 'assistant'; content?: string }): ChatCompletionChunk => ({
    ...head,
    choices: [{ index: 0, delta, finish_reason: null }],
  });
  return mapEvents(client.generate(generate, request.signal), [chunk({ role: 'assistant', content: '' })], (event) => {
    if (event.type === 'text') return [chunk({ content: event.text })];
    if (event.type !== 'done') return [];
    const { finishReason, usage, timings } = event;
    const last: ChatCompletionChunk = { ...head, choices: [{ index: 0, delta: {}, finish_reason: finishReason }], timings };
    return request.stream_options?.include_usage ? [last, { ...head, choices: [], usage, timings }] : [last];
  });
}

async function wholeChat(client: EngineClient, request: ChatRequest, generate: GenerateRequest): Promise<ChatCompletion> {
  let content = '';
  for await (const event of client.generate(generate, request.signal)) {
    if (event.type === 'text') content += event.text;
    if (event.type !== 'done') continue;
    return {
      id: `chatcmpl-${crypto.randomUUID()}`,
      object: 'chat.completion',
      created: Math.floor(Date.now() / 1000),
      model: client.info.model,
      choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: event.finishReason }],
      usage: event.usage,
      timings: event.timings,
    };
  }
  throw new EngineError('internal', 'The reply ended without its last event.');
}
