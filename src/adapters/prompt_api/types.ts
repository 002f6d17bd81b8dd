/** The browsers' Prompt API as far as it is about text. test/adapters/prompt_api_types.test.ts holds it against @types/dom-chromium-ai. */

export type Availability = 'unavailable' | 'downloadable' | 'downloading' | 'available';

export type PromptContent = { type: 'text' | 'image' | 'audio'; value: unknown };
export type PromptMessage = {
  role: 'system' | 'user' | 'assistant';
  content: string | PromptContent[];
  /** Of the last message, the assistant's: the reply goes on from it. */
  prefix?: boolean;
};
export type PromptInput = string | PromptMessage[];

export type PromptTool = {
  name: string;
  description: string;
  inputSchema: object;
  // biome-ignore lint/suspicious/noExplicitAny: as the platform's own types have it
  execute: (...args: any[]) => Promise<string>;
};

export type SamplingMode = 'most-predictable' | 'predictable' | 'balanced' | 'creative' | 'most-creative';

export type CoreOptions = {
  expectedInputs?: { type: 'text' | 'image' | 'audio'; languages?: string[] }[];
  expectedOutputs?: { type: 'text' | 'image' | 'audio'; languages?: string[] }[];
  tools?: PromptTool[];
  samplingMode?: SamplingMode;
  topK?: number;
  temperature?: number;
};

export type CreateOptions = CoreOptions & {
  signal?: AbortSignal;
  // biome-ignore lint/suspicious/noExplicitAny: CreateMonitor, which is no type of TypeScript's DOM library
  monitor?: (monitor: any) => void;
  initialPrompts?: PromptMessage[];
};

export type PromptOptions = {
  /** A JSON schema. Regular expressions are refused. */
  responseConstraint?: Record<string, unknown>;
  /** Without meaning here: the constraint is never part of what the model reads. */
  omitResponseConstraintInput?: boolean;
  signal?: AbortSignal;
};

/** A conversation. With the last one of its class the model is unloaded. `inputUsage` and the like are what the API called them first. */
export interface LanguageModelSession extends EventTarget {
  oncontextoverflow: ((event: Event) => unknown) | null;
  onquotaoverflow: ((event: Event) => unknown) | null;
  /** Tokens that the conversation takes of `contextWindow`. */
  readonly contextUsage: number;
  readonly inputUsage: number;
  readonly contextWindow: number;
  readonly inputQuota: number;
  readonly topK: number;
  readonly temperature: number;
  /** @throws DOMException 'AbortError', 'NotSupportedError', 'QuotaExceededError', 'InvalidStateError' once destroyed, … */
  prompt(input: PromptInput, options?: PromptOptions): Promise<string>;
  /** The reply piece by piece; leaving the stream ends it. */
  promptStreaming(input: PromptInput, options?: PromptOptions): ReadableStream<string>;
  /** Adds to the conversation without a reply. */
  append(input: PromptInput, options?: { signal?: AbortSignal }): Promise<undefined>;
  measureContextUsage(input: PromptInput, options?: PromptOptions): Promise<number>;
  measureInputUsage(input: PromptInput, options?: PromptOptions): Promise<number>;
  /** The same conversation once more, to go on elsewhere. */
  clone(options?: { signal?: AbortSignal }): Promise<LanguageModelSession>;
  destroy(): undefined;
}

export type LanguageModelParams = {
  defaultTopK: number;
  maxTopK: number;
  defaultTemperature: number;
  maxTemperature: number;
};

/** In the shape of the browsers' `LanguageModel`. */
export interface LanguageModelClass {
  /** Not for callers: `create` makes sessions. */
  new (...illegal: never[]): LanguageModelSession;
  readonly prototype: LanguageModelSession;
  /** What the memory plan says: 'unavailable' where the model cannot run here, 'available' where it is stored. */
  availability(options?: CoreOptions): Promise<Availability>;
  params(): Promise<LanguageModelParams>;
  /** Loads the model, unless a session has it loaded. @throws DOMException 'NotSupportedError', 'AbortError', …; TypeError, RangeError */
  create(options?: CreateOptions): Promise<LanguageModelSession>;
}
