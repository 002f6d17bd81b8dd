/** OpenAI's request and response shapes, as far as Sluice supports them, plus `timings`. Types only. */

export type ChatRole = 'system' | 'user' | 'assistant' | 'tool';
export type TextPart = { type: 'text'; text: string };
export type ChatMessage = { role: ChatRole; content: string | TextPart[] | null; reasoning_content?: string; name?: string };

/** Unset fields come from the checkpoint's generation_config.json, then from OpenAI's defaults. */
export type SamplingRequest = {
  /** 0 to 2; 0 is greedy. */
  temperature?: number;
  /** 0 < top_p <= 1. */
  top_p?: number;
  /** 0 switches it off. */
  top_k?: number;
  /** 0 <= min_p < 1. */
  min_p?: number;
  /** > 0; 1 switches it off. Over prompt and reply. */
  repetition_penalty?: number;
  /** -2 to 2, over the reply. */
  presence_penalty?: number;
  /** -2 to 2, over the reply. */
  frequency_penalty?: number;
  /** Same seed, same text on the same device. */
  seed?: number;
};

export type GenerationRequest = SamplingRequest & {
  max_tokens?: number;
  max_completion_tokens?: number;
  stop?: string | string[];
  /** Cancels this request alone; the promise or the stream rejects with AbortError. */
  signal?: AbortSignal;
  stream_options?: { include_usage?: boolean };
  model?: string;
};

export type ChatRequest = GenerationRequest & {
  messages: ChatMessage[];
  /** The last message, the assistant's, is the beginning of the reply (as vLLM has it): the reply goes on from its last word, which it does not repeat. */
  continue_final_message?: boolean;
  /** Passed to the checkpoint's template; enable_thinking is always passed explicitly (default false). */
  chat_template_kwargs?: { enable_thinking?: boolean } & Record<string, unknown>;
};

export type CompletionRequest = GenerationRequest & { prompt: string };

export type FinishReason = 'stop' | 'length';
/** `prompt_tokens` are those that the reply began with. Where turns are dropped in mid-reply `total_tokens` may exceed the context. */
export type Usage = {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  /** Tokens at the front of the prompt that an earlier request had read, so that they cost nothing. */
  prompt_tokens_details?: { cached_tokens: number };
  /** Tokens that were read again because what had been made of them was lost, with the GPU's device for one. */
  replayed_tokens?: number;
  /** Messages that contextOverflow 'truncate' dropped, before or during the reply; missing where none was. */
  truncated_messages?: number;
};
/**
 * Milliseconds of wall clock; prefill ends when the first token is sampled. What 'truncate' reads once more in mid-reply is prefill too.
 * tokens/s = tokens / ms * 1000.
 */
export type Timings = { prefillTokens: number; prefillMs: number; decodeTokens: number; decodeMs: number };

export type ChatCompletion = {
  id: string;
  object: 'chat.completion';
  created: number;
  model: string;
  choices: { index: 0; message: { role: 'assistant'; content: string }; finish_reason: FinishReason }[];
  usage: Usage;
  timings: Timings;
};
export type ChatCompletionChunk = {
  id: string;
  object: 'chat.completion.chunk';
  created: number;
  model: string;
  choices: { index: 0; delta: { role?: 'assistant'; content?: string }; finish_reason: FinishReason | null }[];
  usage?: Usage;
  timings?: Timings;
};
/** `text_completion` for whole replies and for chunks, as OpenAI has it; finish_reason is null until the last chunk. */
export type Completion = {
  id: string;
  object: 'text_completion';
  created: number;
  model: string;
  choices: { index: 0; text: string; finish_reason: FinishReason | null }[];
  usage?: Usage;
  timings?: Timings;
};
