import { EngineError } from '../errors';
import type { ChatCompletion, ChatCompletionChunk, ChatRequest } from '../protocol/chat';
import type { GenerateRequest } from '../protocol/engine';
import type { EngineClient } from './client';
import { toGenerateRequest } from './request';
import type { CreateChatCompletion } from './types';

const roles = ['system', 'user', 'assistant', 'tool'];

/** `engine.chat.completions.create`: OpenAI's shapes, with `timings` beside `usage`. */
export function chatCompletions(client: EngineClient): CreateChatCompletion {
  const create = async (request: ChatRequest & { stream?: boolean }) => {
    const generate = toGenerateRequest(request, chatPrompt(request), ['messages', 'chat_template_kwargs']);
    return request.stream ? streamChat(client, request, generate) : wholeChat(client, request, generate);
  };
  return create as CreateChatCompletion;
}

function chatPrompt({ messages, chat_template_kwargs }: ChatRequest): GenerateRequest['prompt'] {
  if (!Array.isArray(messages) || messages.length === 0)
    throw new EngineError('invalid-request', "'messages' must be a list with at least one message.");
  for (const [i, message] of messages.entries()) {
    if (!roles.includes(message?.role))
      throw new EngineError('invalid-request', `'messages[${i}].role' must be one of ${roles.join(', ')}.`);
  }
  return {
    messages: messages as Record<string, unknown>[],
    templateKwargs: { ...chat_template_kwargs, enable_thinking: chat_template_kwargs?.enable_thinking ?? false },
  };
}

/** Starts at once, so that a wrong request rejects before the first chunk is asked for. */
function streamChat(client: EngineClient, request: ChatRequest, generate: GenerateRequest): AsyncIterable<ChatCompletionChunk> {
  const events = client.generate(generate, request.signal);
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
  return (async function* () {
    yield chunk({ role: 'assistant', content: '' });
    for await (const event of events) {
      if (event.type === 'text') yield chunk({ content: event.text });
      if (event.type !== 'done') continue;
      const { finishReason, usage, timings } = event;
      yield { ...head, choices: [{ index: 0, delta: {}, finish_reason: finishReason }], timings };
      if (request.stream_options?.include_usage) yield { ...head, choices: [], usage, timings };
    }
  })();
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
