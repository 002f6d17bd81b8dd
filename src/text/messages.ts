import { EngineError } from '../errors';
import { isObject } from './tokenizer_config';

/**
 * Messages as templates get them: content that came as a list of parts is one string, everything else is left as it is.
 * @throws EngineError 'unsupported-content' for parts that are not text, 'invalid-request' for what is no message at all
 */
export function plainMessages(messages: readonly unknown[]): Record<string, unknown>[] {
  return messages.map((message, index) => {
    const field = `messages[${index}]`;
    if (!isObject(message)) throw new EngineError('invalid-request', `${field} must be an object with role and content.`);
    if (!Array.isArray(message.content)) return message;
    return { ...message, content: message.content.map((part, i) => textOf(part, `${field}.content[${i}]`)).join('') };
  });
}

function textOf(part: unknown, field: string): string {
  if (typeof part === 'string') return part;
  if (isObject(part) && (part.type === 'text' || part.type === undefined) && typeof part.text === 'string') return part.text;
  if (isObject(part) && typeof part.type === 'string' && part.type !== 'text') {
    throw new EngineError(
      'unsupported-content',
      `${field} is of type '${part.type.slice(0, 40)}'; this model reads text only. Remove the part.`,
    );
  }
  throw new EngineError('invalid-request', `${field} must be { type: 'text', text }.`);
}
