/**
 * Messages of a chat request, each field checked by name: those that OpenAI's types know for the role, what its client adds to
 * replies, and what Sluice's own replies hold, since they go back in. null means that a field is not there.
 */
import { EngineError } from '../errors';
import { checkInner, fieldError, isObject } from './request';

type Message = Record<string, unknown>;

const roles = ['system', 'developer', 'user', 'assistant', 'tool'];
const everyone = ['role', 'content', 'name'];
/** Fields of one role. `parsed` is what OpenAI's client made of a reply. */
const ownOf: Record<string, readonly string[]> = {
  assistant: ['refusal', 'tool_calls', 'function_call', 'audio', 'annotations', 'parsed', 'reasoning_content'],
  tool: ['tool_call_id'],
};
const known = [...everyone, ...Object.values(ownOf).flat()];
/** `prompt_cache_breakpoint` is OpenAI's and means nothing here: every prompt is cached. */
const partFields = new Map<unknown, readonly string[]>([
  ['text', ['type', 'text', 'prompt_cache_breakpoint']],
  ['refusal', ['type', 'refusal']],
]);
/** `index` comes with a stream's calls, `parsed_arguments` from OpenAI's client. */
const callFields = ['id', 'type', 'function', 'index'];
const functionFields = ['name', 'arguments', 'parsed_arguments'];
/** Of the other type; it is refused as a whole. */
const customFields = [...callFields, 'custom'];

/** @throws EngineError 'invalid-request', 'unsupported-content' that name the field */
export function checkMessages(messages: unknown): void {
  if (!Array.isArray(messages) || messages.length === 0) throw fieldError('messages', 'must be a list with at least one message');
  for (const [i, message] of messages.entries()) {
    const field = `messages[${i}]`;
    if (!isObject(message) || !roles.includes(message.role as string))
      throw fieldError(`${field}.role`, `must be one of ${roles.join(', ')}`);
    checkPlaces(message, field);
    checkContent(message, field);
    if (message.role === 'tool') checkAnswer(message.tool_call_id, messages.slice(0, i), field);
    if (message.role === 'assistant') checkSaid(message, field);
    checkText(message.name, `${field}.name`);
  }
}

/** Every field is one of the role's. */
function checkPlaces(message: Message, field: string): void {
  checkInner(field, message, known);
  for (const [role, fields] of Object.entries(ownOf)) {
    const wrong = role === message.role ? undefined : fields.find((name) => isThere(message[name]));
    if (wrong !== undefined) throw fieldError(`${field}.${wrong}`, `belongs in a message of the role '${role}'`);
  }
}

function checkContent({ role, content }: Message, field: string): void {
  const maybeMissing = role === 'assistant' && content === undefined;
  if (!maybeMissing && content !== null && typeof content !== 'string' && !Array.isArray(content))
    throw fieldError(`${field}.content`, 'must be a string, a list of parts or null');
  if (!Array.isArray(content)) return;
  for (const [i, part] of content.entries()) {
    if (!isObject(part)) continue; // a text, or what the renderer refuses
    const fields = partFields.get(part.type ?? 'text');
    if (fields) checkInner(`${field}.content[${i}]`, part, fields); // media are refused by type
  }
}

/** A tool's message answers a call of the assistant's message before it; others may stand between that one and this. */
function checkAnswer(callId: unknown, before: readonly Message[], field: string): void {
  if (typeof callId !== 'string') throw fieldError(`${field}.tool_call_id`, 'must be a string');
  const asked = before.findLast(({ role }) => role !== 'tool');
  const calls = asked?.role === 'assistant' && Array.isArray(asked.tool_calls) ? (asked.tool_calls as { id?: unknown }[]) : [];
  if (calls.length === 0)
    throw fieldError(`${field}.role`, "is 'tool', but the message before is none of the assistant's with tool_calls");
  if (!calls.some(({ id }) => id === undefined || id === callId))
    throw fieldError(`${field}.tool_call_id`, 'must be the id of one of the tool_calls before');
}

function checkSaid(message: Message, field: string): void {
  const { tool_calls: calls, reasoning_content: reasoning, audio, function_call: call, annotations, refusal } = message;
  checkText(reasoning, `${field}.reasoning_content`);
  checkText(refusal, `${field}.refusal`);
  if (isThere(annotations) && !Array.isArray(annotations)) throw fieldError(`${field}.annotations`, 'must be a list');
  if (isThere(audio))
    throw new EngineError('unsupported-content', `'${field}.audio' cannot be read: this model reads text only. Remove it.`, {
      field: `${field}.audio`,
    });
  if (isThere(call)) throw fieldError(`${field}.function_call`, 'is the form before tools; use tool_calls');
  if (isThere(calls)) checkCalls(calls, `${field}.tool_calls`);
}

function checkCalls(calls: unknown, field: string): void {
  if (!Array.isArray(calls)) throw fieldError(field, 'must be a list');
  for (const [i, call] of calls.entries()) {
    const at = `${field}[${i}]`;
    if (isObject(call)) {
      checkInner(at, call, call.type === 'custom' ? customFields : callFields);
      if (isObject(call.function)) checkInner(`${at}.function`, call.function, functionFields);
      checkText(call.id, `${at}.id`);
    }
    const ofFunction = isObject(call) && (call.type === undefined || call.type === 'function');
    const called = ofFunction && isObject(call.function) ? call.function : undefined;
    if (!called || typeof called.name !== 'string' || typeof called.arguments !== 'string')
      throw fieldError(at, "must be { id, type: 'function', function: { name, arguments } } with arguments as JSON text");
  }
}

function checkText(value: unknown, field: string): void {
  if (isThere(value) && typeof value !== 'string') throw fieldError(field, 'must be a string');
}

const isThere = (value: unknown): boolean => value !== undefined && value !== null;
