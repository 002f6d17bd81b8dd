/** A call of the AI SDK as a request of ours. What has no place here is a warning, as the SDK wants it; what cannot be read is an error. */
import type { LanguageModelV3CallOptions, SharedV3Warning } from '@ai-sdk/provider';
import type { ChatMessage, ChatRequest, ToolChoice, ToolDefinition } from '../../api';
import { EngineError } from '../../errors';

/** What is read of a call: those of a LanguageModelV3 and of a LanguageModelV4 have it, which is why it is written out. */
export type CallOptions = Omit<LanguageModelV3CallOptions, 'prompt' | 'tools' | 'providerOptions'> & {
  prompt: readonly Message[];
  tools?: readonly Tool[];
  providerOptions?: Readonly<Record<string, object>>;
  /** Of a LanguageModelV4. */
  reasoning?: string;
};
type Message =
  | { role: 'system'; content: string }
  | { role: 'user'; content: readonly (Text | { type: 'file'; mediaType: string })[] }
  | AssistantMessage
  | { role: 'tool'; content: readonly ({ type: 'tool-result'; toolCallId: string; output: ToolOutput } | Other)[] };
type AssistantMessage = {
  role: 'assistant';
  content: readonly (Text | { type: 'reasoning'; text: string } | ToolCall | Other)[];
};
type Text = { type: 'text'; text: string };
type ToolCall = { type: 'tool-call'; toolCallId: string; toolName: string; input: unknown };
/** Passed over. */
type Other =
  | { type: 'file' | 'reasoning-file' | 'custom' | 'tool-approval-response' }
  | { type: 'tool-result'; toolName: string };
type ToolOutput =
  | { type: 'text' | 'error-text'; value: string }
  | { type: 'json' | 'error-json'; value: unknown }
  | { type: 'execution-denied'; reason?: string }
  | { type: 'content'; value: readonly { type: string; text?: string }[] };
type Tool =
  | { type: 'function'; name: string; description?: string; inputSchema: object; strict?: boolean }
  | { type: 'provider'; id: string; name: string; args: object };
type StreamedRequest = ChatRequest & { stream: true };

/** @throws EngineError 'unsupported-content' for images, audio and files */
export function requestOf(options: CallOptions): { request: StreamedRequest; warnings: SharedV3Warning[] } {
  const warnings: SharedV3Warning[] = [];
  const tools = toolsOf(options.tools, warnings);
  const choice = tools.length > 0 ? choiceOf(options.toolChoice) : undefined;
  const format = formatOf(options.responseFormat);
  const held = tools.length === 0 || choice === 'none';
  if (format && !held)
    warnings.push({
      type: 'unsupported',
      feature: 'responseFormat',
      details: 'A reply that may call tools is not held to a schema.',
    });
  return {
    warnings,
    request: {
      messages: options.prompt.flatMap(messagesOf),
      max_tokens: options.maxOutputTokens,
      temperature: options.temperature,
      top_p: options.topP,
      top_k: options.topK,
      presence_penalty: options.presencePenalty,
      frequency_penalty: options.frequencyPenalty,
      stop: options.stopSequences?.length ? options.stopSequences : undefined,
      seed: options.seed,
      ...(tools.length > 0 ? { tools, tool_choice: choice } : {}),
      ...(format && held ? { response_format: format } : {}),
      ...thinkingOf(options.reasoning, warnings),
      ...(options.providerOptions?.sluice as Partial<ChatRequest>),
      stream: true,
      stream_options: { include_usage: true },
    },
  };
}

function messagesOf(message: Message): ChatMessage[] {
  if (message.role === 'system') return [{ role: 'system', content: message.content }];
  if (message.role === 'user')
    return [{ role: 'user', content: message.content.map((part) => ({ type: 'text', text: textOf(part) })) }];
  if (message.role === 'assistant') return [assistantOf(message)];
  return message.content.flatMap((part): ChatMessage[] =>
    'output' in part ? [{ role: 'tool', tool_call_id: part.toolCallId, content: outputOf(part.output) }] : [],
  );
}

function assistantOf({ content }: AssistantMessage): ChatMessage {
  const join = (type: 'text' | 'reasoning') => content.flatMap((part) => (part.type === type ? [part.text] : [])).join('');
  const reasoning = join('reasoning');
  const calls = content.flatMap((part) =>
    part.type === 'tool-call'
      ? [
          {
            id: part.toolCallId,
            type: 'function' as const,
            function: { name: part.toolName, arguments: argumentsOf(part.input) },
          },
        ]
      : [],
  );
  return {
    role: 'assistant',
    content: join('text'),
    ...(reasoning === '' ? {} : { reasoning_content: reasoning }),
    ...(calls.length > 0 ? { tool_calls: calls } : {}),
  };
}

function textOf(part: Text | { type: 'file'; mediaType: string }): string {
  if (part.type === 'text') return part.text;
  throw new EngineError('unsupported-content', `These models read text only; leave out the file of type ${part.mediaType}.`);
}

const argumentsOf = (input: unknown): string => (typeof input === 'string' ? input : JSON.stringify(input ?? {}));

function outputOf(output: ToolOutput): string {
  switch (output.type) {
    case 'text':
    case 'error-text':
      return output.value;
    case 'json':
    case 'error-json':
      return JSON.stringify(output.value);
    case 'execution-denied':
      return output.reason ?? 'The call was not allowed.';
    case 'content':
      return output.value.map((part) => part.text ?? `[${part.type}]`).join('\n');
  }
}

function toolsOf(tools: CallOptions['tools'] = [], warnings: SharedV3Warning[]): ToolDefinition[] {
  return tools.flatMap((tool): ToolDefinition[] => {
    if (tool.type === 'function') {
      const { name, description, inputSchema, strict } = tool;
      const parameters = inputSchema as { [key: string]: unknown };
      return [{ type: 'function', function: { name, description, parameters, ...(strict === undefined ? {} : { strict }) } }];
    }
    warnings.push({ type: 'unsupported', feature: `provider-defined tool ${tool.id}` });
    return [];
  });
}

/** A model thinks or it does not; how hard is not to be chosen. */
function thinkingOf(effort: string | undefined, warnings: SharedV3Warning[]): Partial<ChatRequest> {
  if (effort === undefined || effort === 'provider-default') return {};
  if (effort !== 'none')
    warnings.push({ type: 'compatibility', feature: 'reasoning', details: `Thinking is on or off here: '${effort}' is on.` });
  return { chat_template_kwargs: { enable_thinking: effort !== 'none' } };
}

function choiceOf(choice: CallOptions['toolChoice']): ToolChoice {
  return choice?.type === 'tool' ? { type: 'function', function: { name: choice.toolName } } : (choice?.type ?? 'auto');
}

function formatOf(format: CallOptions['responseFormat']): ChatRequest['response_format'] {
  if (format?.type !== 'json') return undefined;
  if (!format.schema) return { type: 'json_object' };
  const schema = format.schema as { [key: string]: unknown };
  return { type: 'json_schema', json_schema: { name: format.name ?? 'response', description: format.description, schema } };
}
