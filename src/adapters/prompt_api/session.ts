/** One session of the Prompt API: a conversation, its options, and the requests that go on with it one after the other. */
import type { ChatMessage, ChatRequest, Engine, ToolCall, Usage } from '../../api';
import { throwIfAborted, unlessAborted } from '../../errors';
import { promptApiError } from './errors';
import { type Prompt, promptOf } from './messages';
import { combine, type ToolCalls, toolCalls } from './tool_calls';
import type { PromptInput, PromptOptions, PromptTool } from './types';

/** What a session needs of an engine. */
export type SessionSource = Pick<Engine, 'chat' | 'tokenize' | 'info'>;
export type Sampling = { temperature: number | undefined; topK: number | undefined };

/** A model that always calls another tool must come to an end. */
const MOST_ROUNDS = 8;
/** What a template writes around a message, about. */
const TOKENS_AROUND_MESSAGE = 5;

export class SessionCore {
  readonly #tools: readonly PromptTool[];
  readonly #ended = new AbortController();
  #messages: ChatMessage[];
  #turn: Promise<unknown> = Promise.resolve();
  contextUsage = 0;

  constructor(
    readonly engine: SessionSource,
    readonly sampling: Sampling,
    messages: readonly ChatMessage[],
    tools: readonly PromptTool[],
    private readonly onOverflow: () => void,
  ) {
    this.#messages = [...messages];
    this.#tools = tools;
  }

  /** Another conversation that begins with this one. `engine`: another one where this one's is lost. */
  copy(onOverflow: () => void, engine = this.engine): SessionCore {
    const copy = new SessionCore(engine, this.sampling, this.#messages, this.#tools, onOverflow);
    copy.contextUsage = this.contextUsage;
    return copy;
  }

  /** Ends what runs; everything after it rejects. */
  destroy(): void {
    this.#ended.abort();
  }

  checkUsable(): void {
    if (this.#ended.signal.aborted) throw new DOMException('This session was destroyed.', 'InvalidStateError');
  }

  /** The reply, piece by piece. What was asked and said joins the conversation when it is whole, and not at all otherwise. */
  async *reply(input: PromptInput, options: PromptOptions = {}): AsyncGenerator<string> {
    this.checkUsable();
    const prompt = promptOf(input);
    const signal = this.#until(options.signal);
    const release = await this.#nextTurn(signal);
    try {
      yield* this.#rounds(prompt, options, signal);
    } catch (error) {
      throw promptApiError(error);
    } finally {
      release();
    }
  }

  async append(input: PromptInput, signal?: AbortSignal): Promise<void> {
    this.checkUsable();
    const { messages } = promptOf(input);
    const until = this.#until(signal);
    const release = await this.#nextTurn(until);
    try {
      this.contextUsage += await unlessAborted(this.measure(messages), until);
      this.#messages.push(...messages);
    } finally {
      release();
    }
  }

  /** Tokens, as far as they can be known without the template. */
  async measure(messages: readonly ChatMessage[]): Promise<number> {
    let tokens = 0;
    for (const { content } of messages)
      tokens += (await this.engine.tokenize(String(content ?? ''))).length + TOKENS_AROUND_MESSAGE;
    return tokens;
  }

  /** The caller's own, or the session's end. */
  #until(signal: AbortSignal | undefined): AbortSignal {
    return AbortSignal.any([this.#ended.signal, ...(signal ? [signal] : [])]);
  }

  async #nextTurn(signal: AbortSignal): Promise<() => void> {
    const before = this.#turn;
    let release!: () => void;
    this.#turn = new Promise<void>((resolve) => {
      release = resolve;
    });
    try {
      await unlessAborted(before, signal);
    } catch (error) {
      void before.then(release); // whoever comes after still waits for the one before
      throw error;
    }
    return release;
  }

  async *#rounds({ messages, goesOn }: Prompt, options: PromptOptions, signal: AbortSignal): AsyncGenerator<string> {
    const said: ChatMessage[] = [...messages];
    for (let round = 0; ; round++) {
      throwIfAborted(signal);
      const calls = toolCalls();
      const text = yield* this.#stream(this.#request(said, goesOn && round === 0, options, round), signal, calls);
      const made = calls.all();
      if (goesOn && round === 0) said.splice(-1, 1, { role: 'assistant', content: `${said.at(-1)!.content}${text}` });
      else said.push({ role: 'assistant', content: text, ...(made.length > 0 ? { tool_calls: made } : {}) });
      if (made.length === 0) break;
      for (const call of made) said.push(await unlessAborted(this.#execute(call), signal));
    }
    this.#messages.push(...said);
  }

  async *#stream(request: ChatRequest & { stream: true }, signal: AbortSignal, calls: ToolCalls): AsyncGenerator<string, string> {
    let text = '';
    for await (const { choices, usage } of await this.engine.chat.completions.create(request, { signal })) {
      if (usage) this.#count(usage);
      const { content, tool_calls: pieces } = choices[0]?.delta ?? {};
      combine(calls, pieces);
      if (!content) continue;
      text += content;
      yield content;
    }
    return text;
  }

  #request(said: readonly ChatMessage[], goesOn: boolean, options: PromptOptions, round: number): ChatRequest & { stream: true } {
    const { temperature, topK } = this.sampling;
    const { responseConstraint: schema } = options;
    if (schema instanceof RegExp)
      throw new DOMException('A reply can be held to a JSON schema, not to a RegExp.', 'NotSupportedError');
    const offers = this.#tools.length > 0 && !schema && !goesOn && round < MOST_ROUNDS;
    return {
      messages: [...this.#messages, ...said],
      temperature,
      top_k: topK,
      ...(goesOn ? { continue_final_message: true } : {}),
      ...(schema ? { response_format: { type: 'json_schema', json_schema: { name: 'response', schema } } } : {}),
      ...(offers ? { tools: this.#tools.map(definitionOf) } : {}),
      stream: true,
      stream_options: { include_usage: true },
    };
  }

  /** What a tool throws is its answer: the model is told, and may do otherwise. */
  async #execute(call: ToolCall): Promise<ChatMessage> {
    const { id, function: called } = call as Extract<ToolCall, { type: 'function' }>;
    const tool = this.#tools.find(({ name }) => name === called.name);
    const answer = (content: string): ChatMessage => ({ role: 'tool', tool_call_id: id, content });
    if (!tool) return answer(`There is no tool ${called.name}.`);
    try {
      return answer(String(await tool.execute(JSON.parse(called.arguments || '{}'))));
    } catch (error) {
      return answer(`The tool failed: ${error instanceof Error ? error.message : error}`);
    }
  }

  #count({ total_tokens: total, truncated_messages: dropped = 0 }: Usage): void {
    this.contextUsage = Math.min(total, this.engine.info.contextTokens);
    if (dropped > 0) this.onOverflow();
  }
}

function definitionOf({ name, description, inputSchema }: PromptTool) {
  const parameters = inputSchema as { [key: string]: unknown };
  return { type: 'function' as const, function: { name, description, parameters } };
}
