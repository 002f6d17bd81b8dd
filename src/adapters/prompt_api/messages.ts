/** Prompts as messages, checked as the Prompt API checks them. */
import type { ChatMessage } from '../../api';
import type { PromptInput, PromptMessage } from './types';

/** `goesOn`: the last one, the assistant's, is the beginning of the reply. */
export type Prompt = { messages: ChatMessage[]; goesOn: boolean };

/** @throws TypeError for roles out of place; NotSupportedError for images and audio */
export function promptOf(input: PromptInput): Prompt {
  if (typeof input === 'string') return { messages: [{ role: 'user', content: input }], goesOn: false };
  if (!Array.isArray(input) || input.length === 0) throw new TypeError('A prompt must be a string or a list of messages.');
  const goesOn = input.at(-1)?.prefix === true;
  if (goesOn && input.at(-1)?.role !== 'assistant') throw new TypeError("Only an assistant's message can be a prefix.");
  if (input.some(({ prefix }, i) => prefix && i < input.length - 1))
    throw new TypeError('Only the last message can be a prefix.');
  if (input.some(({ role }) => role === 'system'))
    throw new TypeError('A system message belongs at the start of initialPrompts.');
  return { messages: input.map(messageOf), goesOn };
}

/** @throws TypeError for a system message that is not the first; NotSupportedError */
export function initialMessages(prompts: readonly PromptMessage[] = []): ChatMessage[] {
  if (prompts.some(({ role, prefix }, i) => (role === 'system' && i > 0) || prefix))
    throw new TypeError('In initialPrompts a system message must be the first, and none can be a prefix.');
  return prompts.map(messageOf);
}

function messageOf({ role, content }: PromptMessage): ChatMessage {
  if (role !== 'system' && role !== 'user' && role !== 'assistant') throw new TypeError(`'${role}' is not a role.`);
  return { role, content: typeof content === 'string' ? content : content.map(textOf).join('') };
}

function textOf({ type, value }: { type: string; value: unknown }): string {
  if (type !== 'text') throw new DOMException(`These models read text only, not ${type}.`, 'NotSupportedError');
  if (typeof value !== 'string') throw new TypeError("The value of a part of type 'text' must be a string.");
  return value;
}
