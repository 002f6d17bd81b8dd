/** The worker's request from a chat request: tools and formats, each checked by name; messages are in chat_messages.ts. */
import type { ChatRequest, Constraint, ToolDefinition } from '../protocol/chat';
import type { GenerateRequest } from '../protocol/engine';
import { checkMessages } from './chat_messages';
import {
  checkFields,
  checkFlag,
  checkInner,
  checkNumber,
  checkPlain,
  fieldError,
  generationFields,
  isObject,
  lengthRule,
  logprobsRule,
} from './request';

const ownFields = [
  ...['messages', 'max_completion_tokens', 'logprobs', 'top_logprobs', 'tools', 'tool_choice', 'response_format'],
  ...['chat_template_kwargs', 'continue_final_message', 'reasoning_budget_tokens'],
];
const functionName = /^[\w.-]{1,64}$/;

/** @throws EngineError 'invalid-request' that names the field */
export function chatRequest(request: ChatRequest, vocabSize: number): GenerateRequest {
  checkFields(request, ownFields);
  checkMessages(request.messages);
  const { sampling, maxTokens, ...fields } = generationFields(request, vocabSize);
  const kwargs = checkTemplateKwargs(request.chat_template_kwargs);
  const budget = checkNumber('reasoning_budget_tokens', request.reasoning_budget_tokens, { ...lengthRule, least: 0 });
  const reasoningBudgetTokens = kwargs.enable_thinking ? budget : 0;
  const topLogprobs = checkLogprobs(request);
  const { tools, constraint } = checkTools(request);
  const goesOn = checkContinuation(request, constraint);
  return {
    prompt: {
      messages: request.messages as Record<string, unknown>[],
      ...(tools.length > 0 ? { tools } : {}),
      templateKwargs: kwargs,
      ...(request.allow_special_tokens ? { allowSpecialTokens: true } : {}),
      ...(goesOn ? { continueFinal: true } : {}),
    },
    sampling,
    maxTokens: checkNumber('max_completion_tokens', request.max_completion_tokens, lengthRule) ?? maxTokens,
    ...fields,
    ...(topLogprobs === undefined ? {} : { topLogprobs }),
    ...(reasoningBudgetTokens === undefined ? {} : { reasoningBudgetTokens }),
    ...(constraint ? { constraint } : {}),
  };
}

function checkTemplateKwargs(kwargs: unknown): Record<string, unknown> & { enable_thinking: boolean } {
  if (kwargs !== undefined && kwargs !== null && !isObject(kwargs)) throw fieldError('chat_template_kwargs', 'must be an object');
  checkPlain('chat_template_kwargs', kwargs);
  return { ...kwargs, enable_thinking: checkFlag('chat_template_kwargs.enable_thinking', kwargs?.enable_thinking) };
}

/** A form holds a reply from its first character on, and calls are not text. */
function checkContinuation({ continue_final_message, messages }: ChatRequest, constraint: Constraint | undefined): boolean {
  const goesOn = checkFlag('continue_final_message', continue_final_message);
  const last = messages.at(-1);
  if (!goesOn) return false;
  if (last?.role !== 'assistant')
    throw fieldError('continue_final_message', "needs a last message of the assistant's to go on from");
  if (last.tool_calls?.length)
    throw fieldError('continue_final_message', 'goes on from text only; the last message has tool calls');
  if (constraint)
    throw fieldError('continue_final_message', 'cannot go on with a reply that response_format or tool_choice holds to a form');
  return true;
}

function checkLogprobs({ logprobs, top_logprobs: top }: ChatRequest): number | undefined {
  const wanted = checkFlag('logprobs', logprobs);
  const count = checkNumber('top_logprobs', top, logprobsRule);
  if (count !== undefined && !wanted) throw fieldError('top_logprobs', "needs 'logprobs: true'");
  return wanted ? (count ?? 0) : undefined;
}

/** The tools that the model is offered, and what the reply is held to. */
function checkTools(request: ChatRequest): { tools: ToolDefinition[]; constraint: Constraint | undefined } {
  const tools = checkDefinitions(request.tools);
  const choice = request.tool_choice ?? 'auto';
  const format = formatOf(request.response_format);
  if (choice === 'none') return { tools: [], constraint: format };
  const { offered, constraint } = choose(choice, tools);
  if (format && offered.length > 0)
    throw fieldError(
      'response_format',
      "cannot hold a reply that may call tools; set tool_choice to 'none' or leave one of them out",
    );
  return { tools: offered, constraint: constraint ?? format };
}

function choose(choice: unknown, tools: ToolDefinition[]): { offered: ToolDefinition[]; constraint?: Constraint } {
  if (choice === 'auto') return { offered: tools };
  if (tools.length === 0) throw fieldError('tool_choice', "needs 'tools'");
  if (choice === 'required') return { offered: tools, constraint: { kind: 'tool_calls', tools } };
  if (isObject(choice) && choice.type === 'function') {
    checkInner('tool_choice', choice, ['type', 'function']);
    if (isObject(choice.function)) checkInner('tool_choice.function', choice.function, ['name']);
    const name = isObject(choice.function) ? choice.function.name : undefined;
    const found = toolNamed(name, tools, 'tool_choice.function.name');
    return { offered: tools, constraint: { kind: 'tool_calls', tools, name: found.function.name } };
  }
  const allowed = isObject(choice) && choice.type === 'allowed_tools' ? choice.allowed_tools : undefined;
  if (!isObject(allowed) || !Array.isArray(allowed.tools))
    throw fieldError('tool_choice', "must be 'none', 'auto', 'required', a function by name or allowed_tools");
  checkInner('tool_choice', choice as object, ['type', 'allowed_tools']);
  checkInner('tool_choice.allowed_tools', allowed, ['mode', 'tools']);
  const offered = allowed.tools.map((tool: unknown, i) => {
    const name = isObject(tool) && isObject(tool.function) ? tool.function.name : undefined;
    return toolNamed(name, tools, `tool_choice.allowed_tools.tools[${i}].function.name`);
  });
  if (allowed.mode === 'auto') return { offered };
  if (allowed.mode !== 'required') throw fieldError('tool_choice.allowed_tools.mode', "must be 'auto' or 'required'");
  return { offered, constraint: { kind: 'tool_calls', tools: offered } };
}

function toolNamed(name: unknown, tools: readonly ToolDefinition[], field: string): ToolDefinition {
  const found = tools.find((tool) => tool.function.name === name);
  if (!found) throw fieldError(field, `must name one of the tools: ${tools.map((tool) => tool.function.name).join(', ')}`);
  return found;
}

function checkDefinitions(tools: unknown): ToolDefinition[] {
  if (tools === undefined || tools === null) return [];
  if (!Array.isArray(tools) || tools.length === 0) throw fieldError('tools', 'must be a list with at least one tool');
  const names = new Set<string>();
  for (const [i, tool] of tools.entries()) {
    const field = `tools[${i}]`;
    if (!isObject(tool) || tool.type !== 'function') throw fieldError(`${field}.type`, "must be 'function'");
    checkInner(field, tool, ['type', 'function']);
    if (isObject(tool.function)) checkInner(`${field}.function`, tool.function, ['name', 'description', 'parameters', 'strict']);
    const { name, description, parameters, strict } = isObject(tool.function) ? tool.function : {};
    if (typeof name !== 'string' || !functionName.test(name))
      throw fieldError(`${field}.function.name`, 'must be 1 to 64 letters, digits, dots, dashes and underscores');
    if (names.has(name)) throw fieldError(`${field}.function.name`, `is '${name}' a second time`);
    names.add(name);
    if (description !== undefined && typeof description !== 'string')
      throw fieldError(`${field}.function.description`, 'must be a string');
    if (parameters !== undefined && !isObject(parameters))
      throw fieldError(`${field}.function.parameters`, 'must be a JSON schema of an object');
    checkPlain(`${field}.function.parameters`, parameters);
    checkFlag(`${field}.function.strict`, strict);
  }
  return tools as ToolDefinition[];
}

/** What each type of response_format has beside its type. */
const formatFields = new Map<unknown, string[]>([
  ['text', []],
  ['json_object', []],
  ['json_schema', ['json_schema']],
  ['grammar', ['grammar']],
]);

function formatOf(format: unknown): Constraint | undefined {
  if (format === undefined || format === null) return undefined;
  if (!isObject(format)) throw fieldError('response_format', 'must be an object with a type');
  const known = formatFields.get(format.type);
  if (!known) throw fieldError('response_format.type', "must be 'text', 'json_object', 'json_schema' or 'grammar'");
  checkInner('response_format', format, ['type', ...known]);
  switch (format.type) {
    case 'json_object':
      return { kind: 'json_object' };
    case 'grammar':
      if (typeof format.grammar !== 'string' || format.grammar === '')
        throw fieldError('response_format.grammar', 'must be a non-empty string');
      return { kind: 'grammar', grammar: format.grammar };
    case 'json_schema':
      return schemaOf(format.json_schema);
    default:
      return undefined;
  }
}

/** `schema` may be missing, which holds the reply to JSON of any form. */
function schemaOf(wrapper: unknown): Constraint {
  const field = 'response_format.json_schema';
  if (!isObject(wrapper)) throw fieldError(field, 'must be an object with name and schema');
  checkInner(field, wrapper, ['name', 'description', 'schema', 'strict']);
  const { name, description, schema, strict } = wrapper;
  if (typeof name !== 'string' || name === '') throw fieldError(`${field}.name`, 'must be a non-empty string');
  if (description !== undefined && typeof description !== 'string') throw fieldError(`${field}.description`, 'must be a string');
  if (schema !== undefined && !isObject(schema)) throw fieldError(`${field}.schema`, 'must be a JSON schema');
  checkPlain(`${field}.schema`, schema);
  const wanted = checkFlag(`${field}.strict`, strict);
  return { kind: 'json_schema', schema: schema ?? {}, ...(typeof strict === 'boolean' ? { strict: wanted } : {}) };
}
