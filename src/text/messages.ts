import { EngineError } from '../errors';
import { isObject } from './tokenizer_config';

/**
 * Messages as templates get them: content is a string (parts are joined, null and nothing are the empty string), and the arguments of
 * tool calls are the object that their JSON text stands for, which is what templates write out. Everything else is left as it is.
 * @throws EngineError 'unsupported-content' for parts that are not text, 'invalid-request' for what is no message at all
 */
export function plainMessages(messages: readonly unknown[]): Record<string, unknown>[] {
  return messages.map((message, index) => {
    const field = `messages[${index}]`;
    if (!isObject(message)) throw invalid(field, 'must be an object with role and content');
    const { content, tool_calls: calls } = message;
    const plain = { ...message, content: plainContent(content, `${field}.content`) };
    return Array.isArray(calls)
      ? { ...plain, tool_calls: calls.map((call, i) => plainCall(call, `${field}.tool_calls[${i}]`)) }
      : plain;
  });
}

function plainContent(content: unknown, field: string): unknown {
  if (content === null || content === undefined) return '';
  return Array.isArray(content) ? content.map((part, i) => textOf(part, `${field}[${i}]`)).join('') : content;
}

function textOf(part: unknown, field: string): string {
  if (typeof part === 'string') return part;
  if (isObject(part) && (part.type === 'text' || part.type === undefined) && typeof part.text === 'string') return part.text;
  if (isObject(part) && part.type === 'refusal' && typeof part.refusal === 'string') return part.refusal;
  if (isObject(part) && typeof part.type === 'string' && part.type !== 'text') {
    throw new EngineError(
      'unsupported-content',
      `'${field}' is of type '${part.type.slice(0, 40)}'; this model reads text only. Remove the part.`,
      { field },
    );
  }
  throw invalid(field, "must be { type: 'text', text }");
}

/** Also calls without the wrapping `function`, which some templates take. */
function plainCall(call: unknown, field: string): unknown {
  if (!isObject(call)) throw invalid(field, "must be { id, type: 'function', function: { name, arguments } }");
  if (call.type === 'custom') throw invalid(field, 'is a custom tool call; only calls of functions are known');
  if (!isObject(call.function)) return call;
  const { arguments: text } = call.function;
  if (typeof text !== 'string') return call;
  return { ...call, function: { ...call.function, arguments: parseArguments(text, `${field}.function.arguments`) } };
}

function parseArguments(text: string, field: string): Record<string, unknown> {
  if (text.trim() === '') return {};
  let values: unknown;
  try {
    values = JSON.parse(text);
  } catch (cause) {
    throw invalid(field, 'must be the text of a JSON object', cause);
  }
  if (!isObject(values)) throw invalid(field, 'must be the text of a JSON object');
  return values;
}

function invalid(field: string, problem: string, cause?: unknown): EngineError {
  return new EngineError('invalid-request', `'${field}' ${problem}.`, { field, cause });
}
