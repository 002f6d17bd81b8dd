/** Chunks of a reply as the AI SDK's stream parts: text, reasoning and calls each as a block with a beginning and an end. */
import type { LanguageModelV3FinishReason, LanguageModelV3StreamPart, LanguageModelV3Usage } from '@ai-sdk/provider';
import type { ChatCompletionChunk, ToolCallDelta, Usage } from '../../api';

/** Of the parts of a stream those that are made here, which both specifications have. */
export type Part = Extract<
  LanguageModelV3StreamPart,
  {
    type:
      | 'stream-start'
      | 'response-metadata'
      | `${'text' | 'reasoning'}-${'start' | 'delta' | 'end'}`
      | `tool-input-${'start' | 'delta' | 'end'}`
      | 'tool-call'
      | 'finish'
      | 'error';
  }
>;
type Block = { kind: 'text' | 'reasoning'; id: string };
type Call = { id: string; name: string; input: string };

export class Parts {
  #block: Block | undefined;
  #blocks = 0;
  readonly #calls: Call[] = [];
  #finish: LanguageModelV3FinishReason = { unified: 'other', raw: undefined };
  #usage: Usage | undefined;
  #begun = false;

  *of(chunk: ChatCompletionChunk): Generator<Part> {
    if (!this.#begun) {
      this.#begun = true;
      yield { type: 'response-metadata', id: chunk.id, modelId: chunk.model, timestamp: new Date(chunk.created * 1000) };
    }
    this.#usage = chunk.usage ?? this.#usage;
    const [choice] = chunk.choices;
    if (!choice) return;
    const { content, reasoning_content: reasoning, tool_calls: calls } = choice.delta;
    if (reasoning) yield* this.#say('reasoning', reasoning);
    if (content) yield* this.#say('text', content);
    for (const call of calls ?? []) yield* this.#call(call);
    if (choice.finish_reason) this.#finish = finishOf(choice.finish_reason);
  }

  *end(): Generator<Part> {
    yield* this.#close();
    for (const { id, name, input } of this.#calls) {
      yield { type: 'tool-input-end', id };
      yield { type: 'tool-call', toolCallId: id, toolName: name, input: input === '' ? '{}' : input };
    }
    yield { type: 'finish', finishReason: this.#finish, usage: usageOf(this.#usage) };
  }

  *#say(kind: Block['kind'], delta: string): Generator<Part> {
    if (this.#block?.kind !== kind) {
      yield* this.#close();
      this.#block = { kind, id: `${kind}-${this.#blocks++}` };
      yield { type: `${kind}-start`, id: this.#block.id };
    }
    yield { type: `${kind}-delta`, id: this.#block.id, delta };
  }

  *#call({ index, id, function: called }: ToolCallDelta): Generator<Part> {
    yield* this.#close();
    const delta = called?.arguments ?? '';
    if (id !== undefined) {
      this.#calls[index] = { id, name: called?.name ?? '', input: '' };
      yield { type: 'tool-input-start', id, toolName: called?.name ?? '' };
    }
    const call = this.#calls[index]!;
    call.input += delta;
    if (delta !== '') yield { type: 'tool-input-delta', id: call.id, delta };
  }

  *#close(): Generator<Part> {
    if (this.#block) yield { type: `${this.#block.kind}-end`, id: this.#block.id };
    this.#block = undefined;
  }
}

const unified: Record<string, LanguageModelV3FinishReason['unified']> = {
  stop: 'stop',
  length: 'length',
  tool_calls: 'tool-calls',
  content_filter: 'content-filter',
};

const finishOf = (raw: string): LanguageModelV3FinishReason => ({ unified: unified[raw] ?? 'other', raw });

function usageOf(usage: Usage | undefined): LanguageModelV3Usage {
  const cached = usage?.prompt_tokens_details?.cached_tokens ?? 0;
  const reasoning = usage?.completion_tokens_details?.reasoning_tokens ?? 0;
  return {
    inputTokens: {
      total: usage?.prompt_tokens,
      noCache: usage && usage.prompt_tokens - cached,
      cacheRead: usage && cached,
      cacheWrite: undefined,
    },
    outputTokens: {
      total: usage?.completion_tokens,
      text: usage && usage.completion_tokens - reasoning,
      reasoning: usage && reasoning,
    },
  };
}
