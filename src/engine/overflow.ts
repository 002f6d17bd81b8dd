/**
 * What happens when prompt and reply outgrow the context, which never grows: see ContextOverflow in protocol/engine.ts. Turns leave
 * the prompt whole, from the oldest on, and the checkpoint's own template says what is left of it.
 */
import { EngineError } from '../errors';
import type { ContextOverflow, PromptInput } from '../protocol/engine';
import type { TextHost } from '../text/text_host';
import { commonPrefix } from './prefix_cache';

/** What bounds one request, in tokens. `maxTokens`: undefined where the caller sets no bound. */
export type LengthLimits = { contextTokens: number; maxTokens: number | undefined; overflow: ContextOverflow };

/** What turns a prompt into tokens. */
export type PromptText = Pick<TextHost, 'encode' | 'encodeChat'>;

type Message = Readonly<Record<string, unknown>>;
type Ids = Uint32Array<ArrayBuffer>;
type ChatTokens = { tokens: Ids; opensThinking: boolean; begunTokens: number };

/**
 * Indices of messages, turn by turn: a user message with all that answers it. What comes before the first user message is a turn too.
 * System messages belong to none: they are not part of what was said.
 */
export function turnsOf(messages: readonly Message[]): number[][] {
  const turns: number[][] = [];
  for (const [index, { role }] of messages.entries()) {
    if (role === 'system' || role === 'developer') continue;
    if (role === 'user' || turns.length === 0) turns.push([]);
    turns.at(-1)!.push(index);
  }
  return turns;
}

/** A request's prompt as far as it fits. */
export class PromptWindow {
  /** Never empty. */
  tokens: Ids = new Uint32Array(0);
  /** The tokens end inside a think block. */
  opensThinking = false;
  /** How many of them, at the end, are what a reply that goes on had said. */
  begunTokens = 0;
  /** Messages that are no longer part of `tokens`. */
  droppedMessages = 0;
  readonly #text: PromptText;
  readonly #prompt: PromptInput;
  readonly #turns: readonly number[][];
  #droppedTurns = 0;

  private constructor(text: PromptText, prompt: PromptInput) {
    this.#text = text;
    this.#prompt = prompt;
    this.#turns = 'messages' in prompt ? turnsOf(prompt.messages) : [];
  }

  /** The whole prompt. @throws EngineError 'invalid-request' if it is empty, 'format', 'limit', …; AbortError. */
  static async open(text: PromptText, prompt: PromptInput, signal: AbortSignal): Promise<PromptWindow> {
    const window = new PromptWindow(text, prompt);
    const { tokens, opensThinking, begunTokens } = await window.#encode(0, signal);
    window.tokens = tokens;
    window.begunTokens = begunTokens;
    window.opensThinking = opensThinking;
    return window;
  }

  /** The same prompt, to be shortened apart from this one. */
  copy(): PromptWindow {
    const copy = new PromptWindow(this.#text, this.#prompt);
    copy.tokens = this.tokens;
    copy.opensThinking = this.opensThinking;
    copy.begunTokens = this.begunTokens;
    copy.droppedMessages = this.droppedMessages;
    copy.#droppedTurns = this.#droppedTurns;
    return copy;
  }

  /**
   * Drops the fewest turns that leave at most `wanted` tokens, or else all but the last one. Nothing is dropped where even then there
   * would be more than `most` tokens. @returns whether any was dropped. @throws as `open` does.
   */
  async shrink({ wanted, most }: { wanted: number; most: number }, signal: AbortSignal): Promise<boolean> {
    let least = this.#droppedTurns + 1;
    let enough = this.#turns.length - 1; // the last turn is what the reply answers
    if (least > enough) return false;
    let { tokens } = await this.#encode(enough, signal);
    while (least < enough) {
      const middle = (least + enough) >> 1;
      const { tokens: shorter } = await this.#encode(middle, signal);
      if (shorter.length > wanted) least = middle + 1;
      else [enough, tokens] = [middle, shorter];
    }
    if (tokens.length > most) return false;
    this.tokens = tokens;
    this.#droppedTurns = enough;
    this.droppedMessages = this.#turns.slice(0, enough).flat().length;
    return true;
  }

  /**
   * Tokens up to the end of the last message: without the opening of the reply, which a template may write otherwise once the reply is
   * part of the conversation. Undefined for plain text, and where the template always opens one. @throws AbortError; 'limit'.
   */
  async turnEnd(signal: AbortSignal): Promise<number | undefined> {
    if ('text' in this.#prompt) return undefined;
    try {
      const { ids } = await this.#ids(this.#droppedTurns, signal, { addGenerationPrompt: false });
      const end = commonPrefix(ids, this.tokens);
      return end > 0 && end < this.tokens.length ? end : undefined;
    } catch (error) {
      // Nobody asked for this rendering: a template that cannot do it has rendered what was asked for.
      if (error instanceof EngineError && (error.code === 'format' || error.code === 'invalid-request')) return undefined;
      throw error;
    }
  }

  async #encode(droppedTurns: number, signal: AbortSignal): Promise<ChatTokens> {
    const { ids, opensThinking } = await this.#ids(droppedTurns, signal);
    const { parts, thinks } = begunReply(this.#prompt, opensThinking);
    const promptTokens = ids.length;
    // Apart from the prompt, as the model's own tokens are: no token of the prompt may swallow the reply's first letters.
    for (const { text, isMarker } of parts)
      if (text !== '') ids.push(...(await this.#text.encode(text, { allowSpecialTokens: isMarker, signal })));
    if (ids.length === 0) throw new EngineError('invalid-request', 'The prompt is empty. Pass some text.');
    return { tokens: Uint32Array.from(ids), opensThinking: thinks, begunTokens: ids.length - promptTokens };
  }

  async #ids(
    droppedTurns: number,
    signal: AbortSignal,
    more: { addGenerationPrompt?: boolean } = {},
  ): Promise<{ ids: number[]; opensThinking: boolean }> {
    if ('text' in this.#prompt) {
      const { text, allowSpecialTokens = true } = this.#prompt;
      return { ids: await this.#text.encode(text, { allowSpecialTokens, signal }), opensThinking: false };
    }
    const { messages, continueFinal, ...request } = this.#prompt;
    const dropped = new Set(this.#turns.slice(0, droppedTurns).flat());
    if (continueFinal) dropped.add(messages.length - 1); // the template would end it
    return this.#text.encodeChat({ ...request, ...more, messages: messages.filter((_, i) => !dropped.has(i)) }, { signal });
  }
}

type BegunReply = { parts: { text: string; isMarker: boolean }[]; thinks: boolean };

/**
 * What the last message says of a reply that goes on, as the model itself writes it: its thinking, where the reply thinks, then its
 * text. `thinks`: the tokens end inside a think block.
 */
function begunReply(prompt: PromptInput, opensThinking: boolean): BegunReply {
  if ('text' in prompt || !prompt.continueFinal) return { parts: [], thinks: opensThinking };
  const { content, reasoning_content: reasoning } = prompt.messages.at(-1)!;
  const said = { text: textOf(content), isMarker: false };
  const thought = { text: typeof reasoning === 'string' ? reasoning : '', isMarker: false };
  const mayThink = opensThinking || prompt.templateKwargs.enable_thinking === true;
  if (!mayThink || (!opensThinking && thought.text === '')) return { parts: [said], thinks: false };
  const open = { text: opensThinking ? '' : '<think>\n', isMarker: true };
  if (said.text === '') return { parts: [open, thought], thinks: true };
  return { parts: [open, thought, { text: '\n</think>\n\n', isMarker: true }, said], thinks: false };
}

function textOf(content: unknown): string {
  if (typeof content === 'string') return content;
  return Array.isArray(content) ? content.map((part: { text?: string }) => part?.text ?? '').join('') : '';
}

/**
 * Makes the prompt leave room for a reply, before anything runs.
 * @throws EngineError 'context-length' where it cannot; what rendering throws.
 */
export async function fitPrompt(prompt: PromptWindow, limits: LengthLimits, signal: AbortSignal): Promise<void> {
  const { contextTokens, maxTokens, overflow } = limits;
  const wanted = contextTokens - reservedTokens(limits, 0);
  if (overflow === 'truncate' && prompt.tokens.length > wanted) {
    await prompt.shrink({ wanted, most: contextTokens - 1 }, signal);
  }
  const { length } = prompt.tokens;
  if (length >= contextTokens) {
    const which = overflow === 'truncate' ? 'What must stay of the prompt' : 'The prompt';
    throw new EngineError(
      'context-length',
      `${which} has ${length} tokens; the context holds ${contextTokens}, reply included. Shorten it, or load the model with a larger contextTokens.`,
    );
  }
  if (overflow === 'error' && maxTokens !== undefined && length + maxTokens > contextTokens) {
    throw new EngineError(
      'context-length',
      `The prompt has ${length} tokens and max_tokens asks for ${maxTokens} more; the context holds ${contextTokens}. Lower max_tokens to ${contextTokens - length}, shorten the prompt, or load the model with a larger contextTokens or another contextOverflow.`,
    );
  }
}

/**
 * Drops turns in mid-reply, when prompt and reply fill the context. The sequence must then be read anew, prompt and reply: recurrent
 * state cannot forget.
 * @returns whether there is room now. @throws what rendering throws.
 */
export async function makeRoom(
  prompt: PromptWindow,
  replyTokens: number,
  limits: LengthLimits,
  signal: AbortSignal,
): Promise<boolean> {
  if (limits.overflow !== 'truncate') return false;
  const left = limits.contextTokens - replyTokens;
  return prompt.shrink({ wanted: left - reservedTokens(limits, replyTokens), most: left - 1 }, signal);
}

/** The end of a reply that filled the context where `contextOverflow` is 'error'. */
export function contextFull(promptTokens: number, replyTokens: number, contextTokens: number): EngineError {
  return new EngineError(
    'context-length',
    `The reply was cut off after ${replyTokens} tokens: with the prompt's ${promptTokens} they fill the context of ${contextTokens}. Set max_tokens or contextOverflow, shorten the prompt, or load the model with a larger contextTokens.`,
  );
}

/** Room that dropping makes for the rest of the reply: every time that it runs out, prompt and reply must be read again. */
function reservedTokens({ contextTokens, maxTokens }: LengthLimits, replyTokens: number): number {
  const asked = maxTokens === undefined ? Math.max(16, Math.floor(contextTokens / 8)) : maxTokens - replyTokens;
  return Math.min(asked, Math.floor(contextTokens / 2)); // a generous max_tokens must not cost the whole conversation
}
