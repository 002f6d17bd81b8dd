import { EngineError } from '../errors';
import type { Completion, CompletionChoice, CompletionLogprobs, CompletionRequest, TokenLogprob } from '../protocol/chat';
import type { ChoiceEnd, GenerateRequest } from '../protocol/engine';
import type { EngineClient } from './client';
import { mapEvents, progressOf, type ReplyEvent } from './event_stream';
import { checkFields, checkNumber, fieldError, generationFields, logprobsRule, signalOf } from './request';
import type { CreateCompletion, RequestOptions } from './types';

type TextEvent = Extract<ReplyEvent, { type: 'text' }>;

/** `engine.completions.create`: a plain prompt, no template. Special tokens in it are recognised unless the request forbids it. */
export function completions(client: EngineClient): CreateCompletion {
  const create = async (request: CompletionRequest, options?: RequestOptions) => {
    const generate = completionRequest(request, client.info.vocabSize);
    const events = client.generate(generate, signalOf(request, options));
    if (!request.stream) return wholeCompletion(client, events);
    const chunks = new CompletionChunks(client.info.model, request);
    return mapEvents(events, (event) => chunks.of(event));
  };
  return create as CreateCompletion;
}

/** @throws EngineError 'invalid-request' that names the field */
export function completionRequest(request: CompletionRequest, vocabSize: number): GenerateRequest {
  checkFields(request, ['prompt', 'logprobs']);
  const { prompt, allow_special_tokens: allowSpecialTokens } = request;
  const text = Array.isArray(prompt) && prompt.length === 1 ? prompt[0] : prompt;
  if (typeof text !== 'string' || text === '') throw fieldError('prompt', 'must be a non-empty string');
  const topLogprobs = checkNumber('logprobs', request.logprobs, logprobsRule);
  return {
    prompt: { text, ...(allowSpecialTokens === undefined ? {} : { allowSpecialTokens }) },
    ...generationFields(request, vocabSize),
    ...(topLogprobs === undefined ? {} : { topLogprobs }),
  };
}

class CompletionChunks {
  readonly #head: Omit<Completion, 'choices'>;
  readonly #request: CompletionRequest;
  #choice = 0;
  /** Where the next token begins in the choice's text. */
  #offset = 0;

  constructor(model: string, request: CompletionRequest) {
    this.#head = headOf(model);
    this.#request = request;
  }

  of(event: ReplyEvent): Completion[] {
    if (event.type === 'text') return [this.#chunk(event)];
    if (event.type === 'prefill') {
      if (!this.#request.return_progress) return [];
      return [{ ...this.#chunk({ type: 'text', text: '' }), prompt_progress: progressOf(event) }];
    }
    if (event.type !== 'choice_end' && event.type !== 'done') return [];
    const last = this.#chunk({ type: 'text', text: '' }, event);
    this.#choice++;
    this.#offset = 0;
    if (event.type !== 'done') return [last];
    const { usage, timings } = event;
    const whole = { ...last, timings };
    return this.#request.stream_options?.include_usage ? [whole, { ...this.#head, choices: [], usage, timings }] : [whole];
  }

  #chunk({ text, logprobs }: TextEvent, end?: ChoiceEnd): Completion {
    const choice = choiceOf(this.#choice, text, logprobs, end, this.#offset);
    this.#offset += lengthOf(logprobs ?? []);
    return { ...this.#head, choices: [choice] };
  }
}

const headOf = (model: string) => ({
  id: `cmpl-${crypto.randomUUID()}`,
  object: 'text_completion' as const,
  created: Math.floor(Date.now() / 1000),
  model,
});

async function wholeCompletion(client: EngineClient, events: AsyncIterable<ReplyEvent>): Promise<Completion> {
  const choices: CompletionChoice[] = [];
  let text = '';
  let logprobs: TokenLogprob[] = [];
  for await (const event of events) {
    if (event.type === 'text') {
      text += event.text;
      logprobs.push(...(event.logprobs ?? []));
    }
    if (event.type !== 'choice_end' && event.type !== 'done') continue;
    choices.push(choiceOf(choices.length, text, logprobs.length > 0 ? logprobs : undefined, event, 0));
    [text, logprobs] = ['', []];
    if (event.type !== 'done') continue;
    return { ...headOf(client.info.model), choices, usage: event.usage, timings: event.timings };
  }
  throw new EngineError('internal', 'The reply ended without its last event.');
}

function choiceOf(
  index: number,
  text: string,
  logprobs: TokenLogprob[] | undefined,
  end: ChoiceEnd | undefined,
  offset: number,
): CompletionChoice {
  return {
    index,
    text,
    logprobs: logprobs ? listsOf(logprobs, offset) : null,
    finish_reason: (end?.finishReason ?? null) as CompletionChoice['finish_reason'], // null in chunks, which OpenAI's type does not say
    ...(end?.interrupted ? { interrupted: true } : {}),
  };
}

function listsOf(logprobs: readonly TokenLogprob[], offset: number): CompletionLogprobs {
  return {
    tokens: logprobs.map(({ token }) => token),
    token_logprobs: logprobs.map(({ logprob }) => logprob),
    top_logprobs: logprobs.map(({ token, logprob, top_logprobs: top }) =>
      Object.fromEntries([...top.map((entry) => [entry.token, entry.logprob] as const), [token, logprob] as const]),
    ),
    text_offset: logprobs.map((_, i) => offset + lengthOf(logprobs.slice(0, i))),
  };
}

function lengthOf(logprobs: readonly TokenLogprob[]): number {
  return logprobs.reduce((sum, { token }) => sum + token.length, 0);
}
