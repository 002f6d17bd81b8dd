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
