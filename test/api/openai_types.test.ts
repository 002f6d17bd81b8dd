/**
 * Sluice's request and reply types against those of the `openai` package: without the extensions named here each is assignable to the
 * other, at every depth. The compiler checks it (`npm run check`, and the first stage of `npm test`); at run time only the planted
 * mistakes' own test remains.
 */
import { readFileSync } from 'node:fs';
import type OpenAI from 'openai';
import type { ChatCompletionCreateParamsBase } from 'openai/resources/chat/completions';
import type { CompletionCreateParamsBase } from 'openai/resources/completions';
import { expect, test } from 'vitest';
import type {
  ChatCompletion,
  ChatCompletionChunk,
  ChatRequest,
  Completion,
  CompletionRequest,
  GrammarFormat,
} from '../../src/api';

/** Everything that Sluice adds. Besides, `model` may be left out, and response_format may be a grammar. */
const extensions = [
  // requests
  'top_k',
  'min_p',
  'repetition_penalty',
  'signal',
  'return_progress',
  'allow_special_tokens',
  'chat_template_kwargs',
  'continue_final_message',
  'reasoning_budget_tokens',
  // messages and deltas
  'reasoning_content',
  // replies
  'timings',
  'prompt_progress',
  'replayed_tokens',
  'truncated_messages',
  'interrupted',
] as const;
type Extension = (typeof extensions)[number];

/** A type without the extensions, at every depth. */
type Plain<T> = T extends GrammarFormat
  ? never
  : T extends readonly (infer Item)[]
    ? Plain<Item>[]
    : T extends object
      ? { [K in keyof T as K extends Extension ? never : K]: Plain<T[K]> }
      : T;
type Named<T> = Omit<Plain<T>, 'model'> & { model: string };

/** Compiles where the first type is assignable to the second. */
function assignable<From extends To, To>(): [From?, To?] {
  return [];
}

assignable<ChatCompletionCreateParamsBase, Plain<ChatRequest>>();
assignable<Named<ChatRequest>, ChatCompletionCreateParamsBase>();
assignable<CompletionCreateParamsBase, Plain<CompletionRequest>>();
assignable<Named<CompletionRequest>, CompletionCreateParamsBase>();
assignable<OpenAI.ChatCompletion, Plain<ChatCompletion>>();
assignable<Plain<ChatCompletion>, OpenAI.ChatCompletion>();
assignable<OpenAI.ChatCompletionChunk, Plain<ChatCompletionChunk>>();
assignable<Plain<ChatCompletionChunk>, OpenAI.ChatCompletionChunk>();
assignable<OpenAI.Completion, Plain<Completion>>();
assignable<Plain<Completion>, OpenAI.Completion>();
// with the extensions ours are still what code written for OpenAI reads, and OpenAI's requests are ours as they stand
assignable<ChatCompletion, OpenAI.ChatCompletion>();
assignable<ChatCompletionChunk, OpenAI.ChatCompletionChunk>();
assignable<Completion, OpenAI.Completion>();
assignable<OpenAI.ChatCompletionCreateParamsNonStreaming, ChatRequest & { stream?: false | null }>();
assignable<OpenAI.ChatCompletionCreateParamsStreaming, ChatRequest & { stream: true }>();
assignable<ChatCompletion['choices'][number]['message'], OpenAI.ChatCompletionMessageParam>();

// planted: each must be an error, else the checks above prove nothing
// @ts-expect-error a field of another type
assignable<Omit<ChatCompletionCreateParamsBase, 'n'> & { n: string }, Plain<ChatRequest>>();
// @ts-expect-error a grammar is no format of OpenAI's
assignable<ChatRequest & { model: string }, ChatCompletionCreateParamsBase>();
// @ts-expect-error a finish reason that OpenAI does not have
assignable<{ finish_reason: 'interrupted' }, Pick<OpenAI.ChatCompletion.Choice, 'finish_reason'>>();
// @ts-expect-error a reply without its messages
assignable<Omit<Plain<ChatCompletion>, 'choices'>, OpenAI.ChatCompletion>();

test('no extension has the name of a field that OpenAI has', () => {
  type OpenAiField =
    | keyof ChatCompletionCreateParamsBase
    | keyof CompletionCreateParamsBase
    | keyof OpenAI.ChatCompletion
    | keyof OpenAI.ChatCompletionChunk
    | keyof OpenAI.ChatCompletionMessage
    | keyof OpenAI.CompletionUsage;
  const taken: Extract<Extension, OpenAiField> extends never ? [] : never = [];
  expect(taken).toEqual([]);
  expect(new Set(extensions).size).toBe(extensions.length);
});

test('the README names every extension', () => {
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
  expect(extensions.filter((name) => !new RegExp(`\\b${name}\\b`).test(readme))).toEqual([]);
});
