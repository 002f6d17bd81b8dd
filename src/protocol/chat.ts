/**
 * OpenAI's request and response shapes, as far as Sluice supports them, and the extensions on top. Types only. test/api/openai_types.test.ts
 * holds them against the `openai` package's own, both ways. What is OpenAI's and cannot run here (images, custom tools) is in the
 * types, so that code written for OpenAI compiles, and is a typed error when it is asked for.
 */

export type TextPart = { type: 'text'; text: string };
/** Refused with 'unsupported-content': these models read text only. */
export type MediaPart =
  | { type: 'image_url'; image_url: { url: string; detail?: 'auto' | 'low' | 'high' } }
  | { type: 'input_audio'; input_audio: { data: string; format: 'wav' | 'mp3' } }
  | { type: 'file'; file: { file_data?: string; file_id?: string; filename?: string } };
export type RefusalPart = { type: 'refusal'; refusal: string };

/** `arguments`: the text of a JSON object. */
export type FunctionToolCall = { id: string; type: 'function'; function: { name: string; arguments: string } };
/** OpenAI's, never made here. */
export type CustomToolCall = { id: string; type: 'custom'; custom: { name: string; input: string } };
export type ToolCall = FunctionToolCall | CustomToolCall;

/** A developer message is a system message where the template does not know the role. */
export type SystemMessage = { role: 'system' | 'developer'; content: string | TextPart[]; name?: string };
export type UserMessage = { role: 'user'; content: string | (TextPart | MediaPart)[]; name?: string };
export type AssistantMessage = {
  role: 'assistant';
  /** Missing and null are the empty string. */
  content?: string | (TextPart | RefusalPart)[] | null;
  refusal?: string | null;
  name?: string;
  tool_calls?: ToolCall[];
  /** Extension: what the model thought before it answered. The template decides how much of it the next turn sees. */
  reasoning_content?: string | null;
};
/** What a tool gave back. */
export type ToolMessage = { role: 'tool'; content: string | TextPart[]; tool_call_id: string };
/** OpenAI's form before tools; refused with 'invalid-request'. */
export type FunctionMessage = { role: 'function'; content: string | null; name: string };
export type ChatMessage = SystemMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage;
export type ChatRole = ChatMessage['role'];

/** `parameters`: a JSON schema of an object; missing for a function without parameters. */
export type FunctionDefinition = {
  name: string;
  description?: string;
  parameters?: { [key: string]: unknown };
  strict?: boolean | null;
};
export type ToolDefinition = { type: 'function'; function: FunctionDefinition };
/** OpenAI's; refused with 'invalid-request'. */
export type CustomTool = {
  type: 'custom';
  custom: {
    name: string;
    description?: string;
    format?: { type: 'text' } | { type: 'grammar'; grammar: { definition: string; syntax: 'lark' | 'regex' } };
  };
};
/** 'required' and a named function constrain the reply to calls. Default 'auto'. */
export type ToolChoice =
  | 'none'
  | 'auto'
  | 'required'
  | { type: 'function'; function: { name: string } }
  | { type: 'allowed_tools'; allowed_tools: { mode: 'auto' | 'required'; tools: { [key: string]: unknown }[] } }
  | { type: 'custom'; custom: { name: string } };

export type ResponseFormat =
  | { type: 'text' }
  | { type: 'json_object' }
  | {
      type: 'json_schema';
      json_schema: { name: string; description?: string; schema?: { [key: string]: unknown }; strict?: boolean | null };
    };
/** Extension: a grammar in EBNF, as XGrammar reads it. */
export type GrammarFormat = { type: 'grammar'; grammar: string };

/** What a reply is held to, as it crosses to the worker: `response_format` and `tool_choice` come to one of these. */
export type Constraint =
  | { kind: 'json_object' }
  | { kind: 'json_schema'; schema: unknown; strict?: boolean }
  | { kind: 'grammar'; grammar: string }
  /** At least one call; of the function `name` where one is named. */
  | { kind: 'tool_calls'; tools: ToolDefinition[]; name?: string };

/** Unset fields come from the checkpoint's generation_config.json, then from OpenAI's defaults. */
export type SamplingRequest = {
  /** 0 to 2; 0 is greedy. */
  temperature?: number | null;
  /** 0 < top_p <= 1. */
  top_p?: number | null;
  /** Extension. 0 switches it off. */
  top_k?: number | null;
  /** Extension. 0 <= min_p <= 1. */
  min_p?: number | null;
  /** Extension. > 0; 1 switches it off. Over prompt and reply. */
  repetition_penalty?: number | null;
  /** -2 to 2, over the reply. */
  presence_penalty?: number | null;
  /** -2 to 2, over the reply. */
  frequency_penalty?: number | null;
  /** Same seed, same text on the same device; choice i of `n` draws with seed + i. */
  seed?: number | null;
  /** Token id -> -100 to 100, added to the token's logit. */
  logit_bias?: { [token: string]: number } | null;
};

/** `include_obfuscation` is accepted and means nothing here: there is no network to hide lengths from. */
export type StreamOptions = { include_usage?: boolean; include_obfuscation?: boolean };

export type GenerationRequest = SamplingRequest & {
  max_tokens?: number | null;
  /** Up to 16 texts that end a reply before them, wherever they come: in its thinking and in calls too. */
  stop?: string | string[] | null;
  /** Choices, 1 to 128, made one after the other from one reading of the prompt. */
  n?: number | null;
  stream?: boolean | null;
  stream_options?: StreamOptions | null;
  /** Extension: optional here. An engine is one model, whatever it is called. */
  model?: string;
  /** Extension: cancels this request alone; the promise or the stream rejects with AbortError. */
  signal?: AbortSignal;
  /** Extension, streams only: chunks with `prompt_progress` while the prompt is read. */
  return_progress?: boolean;
  /**
   * Extension: whether text such as '<|im_end|>' in messages or prompt becomes the special token that it names. Default false for
   * messages, so that text from outside cannot open or close a turn; true for the prompt of a plain completion.
   */
  allow_special_tokens?: boolean;
};

export type ChatRequest = GenerationRequest & {
  messages: ChatMessage[];
  max_completion_tokens?: number | null;
  /** Log probabilities of the reply's tokens (not of its thinking), of the model's own distribution. */
  logprobs?: boolean | null;
  /** 0 to 20 most likely tokens beside each; needs `logprobs`. */
  top_logprobs?: number | null;
  tools?: (ToolDefinition | CustomTool)[];
  tool_choice?: ToolChoice;
  response_format?: ResponseFormat | GrammarFormat;
  /** Extension: the last message, the assistant's, is the beginning of the reply (as vLLM has it): the reply goes on from its last word, which it does not repeat. With a seed it goes on with the draws that it would have had. */
  continue_final_message?: boolean;
  /** Extension: passed to the checkpoint's template. `enable_thinking` is always passed explicitly (default false). */
  chat_template_kwargs?: { enable_thinking?: boolean } & Record<string, unknown>;
  /** Extension: after so many tokens of thinking the think block is closed for the model. Default: no bound; 0 without thinking. */
  reasoning_budget_tokens?: number | null;
};

export type CompletionRequest = GenerationRequest & {
  /** One string (or a list of one). Lists of token ids are OpenAI's, and refused. */
  prompt: string | string[] | number[] | number[][] | null;
  /** 0 to 20 most likely tokens beside each of the reply's. */
  logprobs?: number | null;
};

export type FinishReason = 'stop' | 'length' | 'tool_calls';
/** OpenAI's, the last two of which never come from here. */
export type ChatFinishReason = FinishReason | 'content_filter' | 'function_call';

/** `prompt_tokens` are those that the reply began with. Where turns are dropped in mid-reply `total_tokens` may exceed the context. */
export type Usage = {
  prompt_tokens: number;
  /** Of all choices together. */
  completion_tokens: number;
  total_tokens: number;
  /** Tokens at the front of the prompt that an earlier request had read, so that they cost nothing. */
  prompt_tokens_details?: { cached_tokens?: number };
  completion_tokens_details?: { reasoning_tokens?: number };
  /** Extension: tokens that were read again because what had been made of them was lost, with the GPU's device for one. */
  replayed_tokens?: number;
  /** Extension: messages that contextOverflow 'truncate' dropped, before or during the reply; missing where none was. */
  truncated_messages?: number;
};
/**
 * Milliseconds of wall clock; prefill ends when the first token is sampled. What 'truncate' reads once more in mid-reply is prefill too.
 * tokens/s = tokens / ms * 1000.
 */
export type Timings = { prefillTokens: number; prefillMs: number; decodeTokens: number; decodeMs: number };
/** How far the prompt is read, in tokens; `cache` of them needed no reading, and count as processed. */
export type PromptProgress = { total: number; cache: number; processed: number; time_ms: number };

/** `bytes`: the token's UTF-8, where a token may be part of a character; null where tokens are no bytes. */
export type TopLogprob = { token: string; logprob: number; bytes: number[] | null };
export type TokenLogprob = TopLogprob & { top_logprobs: TopLogprob[] };
export type ChatLogprobs = { content: TokenLogprob[] | null; refusal: TokenLogprob[] | null };

export type ReplyMessage = {
  role: 'assistant';
  /** null where the reply is tool calls alone. */
  content: string | null;
  refusal: string | null;
  tool_calls?: ToolCall[];
  /** Extension: what the model thought; missing where it did not. */
  reasoning_content?: string;
};
export type ChatChoice = {
  index: number;
  message: ReplyMessage;
  logprobs: ChatLogprobs | null;
  finish_reason: ChatFinishReason;
  /** Extension: `engine.interruptGenerate()` ended it. */
  interrupted?: boolean;
};
export type ChatCompletion = {
  id: string;
  object: 'chat.completion';
  created: number;
  model: string;
  choices: ChatChoice[];
  usage?: Usage;
  /** Extension. */
  timings?: Timings;
};

export type ToolCallDelta = { index: number; id?: string; type?: 'function'; function?: { name?: string; arguments?: string } };
export type ReplyDelta = {
  role?: 'developer' | 'system' | 'user' | 'assistant' | 'tool';
  content?: string | null;
  refusal?: string | null;
  tool_calls?: ToolCallDelta[];
  /** Extension: what the model thinks. */
  reasoning_content?: string;
};
export type ChatChunkChoice = {
  index: number;
  delta: ReplyDelta;
  logprobs?: ChatLogprobs | null;
  finish_reason: ChatFinishReason | null;
  /** Extension: `engine.interruptGenerate()` ended it. */
  interrupted?: boolean;
};
export type ChatCompletionChunk = {
  id: string;
  object: 'chat.completion.chunk';
  created: number;
  model: string;
  choices: ChatChunkChoice[];
  usage?: Usage | null;
  /** Extension: in the last chunks. */
  timings?: Timings;
  /** Extension: with `return_progress`. */
  prompt_progress?: PromptProgress;
};

/** Lists of one entry per token. `top_logprobs`: token -> log probability, the chosen token's always among them. */
export type CompletionLogprobs = {
  tokens?: string[];
  token_logprobs?: number[];
  top_logprobs?: { [token: string]: number }[];
  /** Where each token begins in the choice's text, in characters. */
  text_offset?: number[];
};
/** In a chunk `finish_reason` is null until the choice's last one, although OpenAI's type does not say so. */
export type CompletionChoice = {
  index: number;
  text: string;
  logprobs: CompletionLogprobs | null;
  finish_reason: 'stop' | 'length' | 'content_filter';
  /** Extension: `engine.interruptGenerate()` ended it. */
  interrupted?: boolean;
};
/** `text_completion` for whole replies and for chunks, as OpenAI has it. */
export type Completion = {
  id: string;
  object: 'text_completion';
  created: number;
  model: string;
  choices: CompletionChoice[];
  usage?: Usage;
  /** Extension. */
  timings?: Timings;
  /** Extension: with `return_progress`. */
  prompt_progress?: PromptProgress;
};
