import { EngineError } from '../errors';
import type { Completion, CompletionRequest } from '../protocol/chat';
import type { GenerateRequest } from '../protocol/engine';
import type { EngineClient } from './client';
import { mapEvents } from './event_stream';
import { checkRequestObject, toGenerateRequest } from './request';
import type { CreateCompletion } from './types';

/** `engine.completions.create`: a plain prompt, no template. Special tokens in it are recognised. */
export function completions(client: EngineClient): CreateCompletion {
  const create = async (request: CompletionRequest & { stream?: boolean }) => {
    checkRequestObject(request);
    if (typeof request.prompt !== 'string' || request.prompt === '') {
      throw new EngineError('invalid-request', "'prompt' must be a non-empty string.");
    }
    const generate = toGenerateRequest(request, { text: request.prompt }, ['prompt']);
    return request.stream ? streamCompletion(client, request, generate) : wholeCompletion(client, request, generate);
  };
  return create as CreateCompletion;
}

const headOf = (client: EngineClient) => ({
  id: `cmpl-${crypto.randomUUID()}`,
  object: 'text_completion' as const,
  created: Math.floor(Date.now() / 1000),
  model: client.info.model,
});

function streamCompletion(
  client: EngineClient,
  request: CompletionRequest,
  generate: GenerateRequest,
): AsyncIterable<Completion> {
  const head = headOf(client);
  return mapEvents<Completion>(client.generate(generate, request.signal), [], (event) => {
    if (event.type === 'text') return [{ ...head, choices: [{ index: 0, text: event.text, finish_reason: null }] }];
    if (event.type !== 'done') return [];
    const { finishReason, usage, timings } = event;
    const last: Completion = { ...head, choices: [{ index: 0, text: '', finish_reason: finishReason }], timings };
    return request.stream_options?.include_usage ? [last, { ...head, choices: [], usage, timings }] : [last];
  });
}

async function wholeCompletion(client: EngineClient, request: CompletionRequest, generate: GenerateRequest): Promise<Completion> {
  let text = '';
  for await (const event of client.generate(generate, request.signal)) {
    if (event.type === 'text') text += event.text;
    if (event.type !== 'done') continue;
    const { finishReason, usage, timings } = event;
    return { ...headOf(client), choices: [{ index: 0, text, finish_reason: finishReason }], usage, timings };
  }
  throw new EngineError('internal', 'The reply ended without its last event.');
}
