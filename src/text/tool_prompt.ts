/**
 * Tools for a template that has no syntax for them: Sluice's own prompt, in the form that most models have seen (Hermes). README.md
 * documents it. Results come back as the user's words, since such a template may know no role 'tool'.
 */
import { isObject } from './tokenizer_config';

type Message = Record<string, unknown>;

/** The same conversation in the roles system, user and assistant. `messages` are plain, `tools` as OpenAI defines them. */
export function withToolPrompt(messages: readonly Message[], tools: readonly unknown[]): Message[] {
  const told = messages.map(inWords);
  if (tools.length === 0) return joinResults(told);
  const prompt = toolPrompt(tools);
  const [first, ...rest] = told;
  if (first?.role !== 'system' && first?.role !== 'developer') return joinResults([{ role: 'system', content: prompt }, ...told]);
  return joinResults([{ ...first, content: `${first.content}\n\n${prompt}` }, ...rest]);
}

export function toolPrompt(tools: readonly unknown[]): string {
  const lines = tools.map((tool) => JSON.stringify(isObject(tool) ? (tool.function ?? tool) : tool));
  return [
    'You can call functions. Each line between the tags defines one, with the JSON schema of its arguments:',
    '<tools>',
    ...lines,
    '</tools>',
    'To call a function, write its name and its arguments as JSON between these tags, and nothing after the last call:',
    '<tool_call>',
    '{"name": "function_name", "arguments": {"argument_name": "value"}}',
    '</tool_call>',
    'Write one such block for each call. What a function returns is told to you in <tool_response> tags. Answer in plain words when no function is needed.',
  ].join('\n');
}

function inWords(message: Message): Message {
  if (message.role === 'tool') {
    return { role: 'user', content: `<tool_response>\n${message.content}\n</tool_response>` };
  }
  if (!Array.isArray(message.tool_calls)) return message;
  const { tool_calls: calls, ...rest } = message;
  const blocks = calls.map((call: { function?: Message }) => {
    const { name, arguments: values } = call.function ?? {};
    return `<tool_call>\n${JSON.stringify({ name, arguments: values })}\n</tool_call>`;
  });
  const text = [message.content, ...blocks].filter((part) => part !== '').join('\n');
  return { ...rest, content: text };
}

/** Results of several calls are one turn. */
function joinResults(messages: readonly Message[]): Message[] {
  const joined: Message[] = [];
  for (const message of messages) {
    const last = joined.at(-1);
    if (isResult(message) && last && isResult(last))
      joined[joined.length - 1] = { ...last, content: `${last.content}\n${message.content}` };
    else joined.push(message);
  }
  return joined;
}

function isResult({ role, content }: Message): boolean {
  return role === 'user' && typeof content === 'string' && content.startsWith('<tool_response>\n');
}
