/** From the text of a reply to what its reader gets: thinking, text, tool calls. Pure; the pieces' sums do not depend on how text is cut. */
import { ReasoningSplitter } from './reasoning_splitter';
import { type ReplyPiece, ToolCallParser, type ToolShape } from './tool_call_parser';

export type ReplyForm = {
  /** The prompt ends inside a think block. */
  opensThinking: boolean;
  /** Tools that may be called; without any a call's markup is text. */
  tools: readonly ToolShape[];
};

export class ReplyParser {
  readonly #thinking: ReasoningSplitter;
  readonly #tools: ToolCallParser | undefined;

  constructor({ opensThinking, tools }: ReplyForm, newId: () => string = newCallId) {
    this.#thinking = new ReasoningSplitter(opensThinking);
    this.#tools = tools.length > 0 ? new ToolCallParser(tools, newId) : undefined;
  }

  /** Whether what comes next is thinking. */
  get thinks(): boolean {
    return this.#thinking.inside;
  }

  /** Tool calls found so far. */
  get calls(): number {
    return this.#tools?.calls ?? 0;
  }

  /** The last of them has only begun. */
  get endsInCall(): boolean {
    return this.#tools?.endsInCall ?? false;
  }

  push(text: string): ReplyPiece[] {
    const part = this.#thinking.push(text);
    return [...reasoningOf(part.reasoning), ...this.#answer(part.text)];
  }

  finish(): ReplyPiece[] {
    const part = this.#thinking.finish();
    return [...reasoningOf(part.reasoning), ...this.#answer(part.text), ...(this.#tools?.finish() ?? [])];
  }

  #answer(text: string): ReplyPiece[] {
    if (text === '') return [];
    return this.#tools?.push(text) ?? [{ type: 'text', text }];
  }
}

function reasoningOf(text: string): ReplyPiece[] {
  return text === '' ? [] : [{ type: 'reasoning', text }];
}

/** 24 letters and digits after `call_`, as OpenAI's look. */
function newCallId(): string {
  return `call_${crypto.randomUUID().replaceAll('-', '').slice(0, 24)}`;
}
