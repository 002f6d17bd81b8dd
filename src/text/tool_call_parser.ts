/**
 * Tool calls of a reply, while it streams. Two forms, told apart call by call, because checkpoints of one family differ:
 *   <tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>                                                (Qwen3, Hermes)
 *   <tool_call><function=f><parameter=a>1</parameter></function></tool_call>, tags on lines of their own       (Qwen3.5, Qwen3-Coder)
 * A call in JSON is passed on when it is whole, one in XML name first, then argument by argument, strings as they come. What is no call
 * after all stays text. What was pushed so far decides, never where one piece ended, so pieces of any size give the same calls and text.
 */
import { coerceArguments, coerceValue } from './argument_coercion';
import { undecidedFrom } from './reasoning_splitter';
import { isObject } from './tokenizer_config';
import { argumentSchema, isPlainString, jsonOf, maxNesting, parseJson, valueOfText } from './tool_values';

/** As much of a tool definition as parsing needs. `parameters`: the JSON schema that arguments are read by. */
export type ToolShape = { function: { name: string; parameters?: unknown } };

/** The first piece of a call has `id` and `name`; the `arguments` of all its pieces are the text of one JSON object. */
export type ToolCallPiece = { type: 'tool_call'; index: number; id?: string; name?: string; arguments: string };
export type ReplyPiece = { type: 'text'; text: string } | { type: 'reasoning'; text: string } | ToolCallPiece;

const OPEN = '<tool_call>';
const CLOSE = '</tool_call>';
const FUNCTION = '<function=';
const FUNCTION_END = '</function>';
const PARAMETER = '<parameter=';
const PARAMETER_END = '</parameter>';

/** 'call': after <tool_call>; 'function': between parameters; 'value': in one; 'close': after a call. */
type State = 'text' | 'call' | 'json' | 'function' | 'value' | 'close';

export class ToolCallParser {
  readonly #tools: readonly ToolShape[];
  readonly #newId: () => string;
  #state: State = 'text';
  #held = '';
  #pieces: ReplyPiece[] = [];
  #calls = 0;
  /** What led to the call that begins, in case that it is none. */
  #opening = '';
  /** Text since the last call, white space apart. */
  #said = false;
  #json = new JsonEnd();
  #name = '';
  #parameters = 0;
  #key = '';
  /** A string value of which something was passed on already. */
  #streaming = false;

  /** `newId` names each call. */
  constructor(tools: readonly ToolShape[], newId: () => string) {
    this.#tools = tools;
    this.#newId = newId;
  }

  /** Calls found so far. */
  get calls(): number {
    return this.#calls;
  }

  /** The last call's arguments are not whole. */
  get endsInCall(): boolean {
    return this.#state === 'function' || this.#state === 'value';
  }

  push(piece: string): ReplyPiece[] {
    this.#held += piece;
    while (this.#step());
    return this.#take();
  }

  /** What was held back, at the end of the reply. A call that was cut off keeps the arguments that it had, unfinished. */
  finish(): ReplyPiece[] {
    const rest = this.#held;
    this.#held = '';
    if (this.#state === 'text') this.#text(this.#calls > 0 ? rest.trimEnd() : rest);
    if (this.#state === 'call' || this.#state === 'json') this.#text(this.#opening + rest);
    return this.#take();
  }

  #take(): ReplyPiece[] {
    const pieces = this.#pieces;
    this.#pieces = [];
    return pieces;
  }

  /** Takes one thing off the held text; false where more of it is needed first. */
  #step(): boolean {
    switch (this.#state) {
      case 'text':
        return this.#plain();
      case 'call':
        return this.#begin();
      case 'json':
        return this.#object();
      case 'function':
        return this.#between();
      case 'value':
        return this.#value();
      case 'close':
        return this.#close();
    }
  }

  #plain(): boolean {
    const at = this.#held.indexOf(OPEN);
    const end = at < 0 ? undecidedFrom(this.#held, OPEN) : this.#held.slice(0, at).trimEnd().length;
    this.#text(this.#held.slice(0, end));
    if (at >= 0) {
      this.#opening = this.#held.slice(end, at + OPEN.length);
      this.#state = 'call';
    }
    this.#held = this.#held.slice(at < 0 ? end : at + OPEN.length);
    return at >= 0;
  }

  #text(text: string): void {
    const said = this.#calls > 0 && !this.#said ? text.trimStart() : text;
    if (said === '') return;
    this.#said = true;
    this.#pieces.push({ type: 'text', text: said });
  }

  #begin(): boolean {
    const begun = this.#held.trimStart();
    if (begun.startsWith('{')) {
      this.#json = new JsonEnd();
      this.#state = 'json';
      return true;
    }
    if (begun.startsWith(FUNCTION)) return this.#named(begun);
    return FUNCTION.startsWith(begun) ? false : this.#noCall();
  }

  #named(begun: string): boolean {
    const end = begun.indexOf('>');
    if (end < 0) return begun.includes('\n') ? this.#noCall() : false;
    const name = begun.slice(FUNCTION.length, end).trim();
    if (name === '' || name.includes('\n')) return this.#noCall();
    this.#held = begun.slice(end + 1);
    this.#parameters = 0;
    this.#open(name, '');
    this.#state = 'function';
    return true;
  }

  #open(name: string, text: string): void {
    this.#name = name;
    this.#said = false;
    this.#pieces.push({ type: 'tool_call', index: this.#calls++, id: this.#newId(), name, arguments: text });
  }

  /** The marker was text like any other. */
  #noCall(): boolean {
    this.#text(this.#opening);
    this.#state = 'text';
    return true;
  }

  #object(): boolean {
    const start = this.#held.length - this.#held.trimStart().length;
    const end = this.#json.find(this.#held, start);
    if (end === undefined) return false;
    const call = end < 0 ? undefined : readCall(this.#held.slice(start, end));
    if (!call) return this.#noCall();
    this.#held = this.#held.slice(end);
    this.#open(call.name, jsonOf(coerceArguments(call.arguments, this.#schemaOf(call.name)), call.written));
    this.#state = 'close';
    return true;
  }

  #between(): boolean {
    const next = this.#held.trimStart();
    if (next.startsWith(PARAMETER)) {
      const end = next.indexOf('>');
      if (end < 0) return false;
      this.#key = next.slice(PARAMETER.length, end).trim();
      this.#held = next.slice(end + 1);
      this.#streaming = false;
      this.#state = 'value';
      return true;
    }
    for (const [tag, length] of [[FUNCTION_END, FUNCTION_END.length] as const, [CLOSE, 0] as const]) {
      if (!next.startsWith(tag)) continue;
      this.#append(this.#parameters === 0 ? '{}' : '}');
      this.#held = next.slice(length);
      this.#state = 'close';
      return true;
    }
    if ([PARAMETER, FUNCTION_END, CLOSE].some((tag) => tag.startsWith(next))) return false;
    const another = next.indexOf('<', 1); // nothing that belongs here: on to the next tag
    this.#held = another < 0 ? '' : next.slice(another);
    return another >= 0;
  }

  #value(): boolean {
    const argument = argumentSchema(this.#schemaOf(this.#name), this.#key);
    const end = this.#held.indexOf(PARAMETER_END);
    if (isPlainString(argument)) return this.#string(end);
    if (end < 0) return false;
    const text = lineOf(this.#held.slice(0, end));
    const value = coerceValue(valueOfText(text, argument), argument);
    this.#append(`${this.#beginning()}${jsonOf(value, text.trim())}`);
    return this.#endValue(end);
  }

  /** Passed on as it comes, since its end cannot change its beginning. */
  #string(end: number): boolean {
    const safe = end >= 0 ? end : undecidedFrom(this.#held, PARAMETER_END);
    if (!this.#streaming) {
      if (this.#held === '') return false;
      this.#append(`${this.#beginning()}"`);
      this.#streaming = true;
      if (this.#held.startsWith('\n')) {
        this.#held = this.#held.slice(1); // the line break after the tag is the tag's
        return true;
      }
    }
    const text = this.#held.slice(0, safe);
    const passed = end >= 0 && text.endsWith('\n') ? text.slice(0, -1) : text;
    if (passed !== '') this.#append(JSON.stringify(passed).slice(1, -1));
    if (end < 0) {
      this.#held = this.#held.slice(safe);
      return false;
    }
    this.#append('"');
    return this.#endValue(end);
  }

  #beginning(): string {
    return `${this.#parameters === 0 ? '{' : ','}${JSON.stringify(this.#key)}:`;
  }

  #endValue(end: number): boolean {
    this.#held = this.#held.slice(end + PARAMETER_END.length);
    this.#parameters++;
    this.#state = 'function';
    return true;
  }

  #append(text: string): void {
    const last = this.#pieces.at(-1);
    if (last?.type === 'tool_call' && last.index === this.#calls - 1) last.arguments += text;
    else this.#pieces.push({ type: 'tool_call', index: this.#calls - 1, arguments: text });
  }

  #close(): boolean {
    const next = this.#held.trimStart();
    if (next.startsWith(CLOSE)) this.#held = next.slice(CLOSE.length);
    else if (CLOSE.startsWith(next) || FUNCTION.startsWith(next)) return false;
    this.#opening = '';
    this.#state = next.startsWith(FUNCTION) ? 'call' : 'text'; // a second function in the same block is a second call
    return true;
  }

  #schemaOf(name: string): unknown {
    return this.#tools.find((tool) => tool.function.name === name)?.function.parameters;
  }
}

/** A value's text between the line breaks that belong to its tags. */
function lineOf(text: string): string {
  const from = text.startsWith('\n') ? 1 : 0;
  return text.slice(from, text.length > from && text.endsWith('\n') ? -1 : undefined);
}

/** `written`: the text of the arguments, where that can be told. */
function readCall(text: string): { name: string; arguments: Record<string, unknown>; written: string } | undefined {
  const call = parseJson(text);
  if (!isObject(call) || typeof call.name !== 'string' || call.name === '') return undefined;
  const given = call.arguments ?? call.parameters ?? {};
  const values = typeof given === 'string' ? parseJson(given) : given; // some models write JSON within JSON
  const written = text.slice(
    text.indexOf('{', text.search(/"(?:arguments|parameters)"\s*:/)),
    text.lastIndexOf('}', text.length - 2) + 1,
  );
  return isObject(values) ? { name: call.name, arguments: values, written } : undefined;
}

/** Finds where a JSON object ends, going on where it stopped before. */
class JsonEnd {
  #at = 0;
  #depth = 0;
  #inString = false;

  /** One past the closing brace; -1 where the call is closed first, or nests too deeply; undefined where more text is needed. */
  find(text: string, start: number): number | undefined {
    this.#at = Math.max(this.#at, start);
    for (; this.#at < text.length; this.#at++) {
      const c = text[this.#at];
      if (this.#inString) {
        if (c === '\\') {
          if (this.#at + 1 >= text.length) return undefined;
          this.#at++;
        } else if (c === '"') this.#inString = false;
      } else if (c === '"') this.#inString = true;
      else if (c === '{' || c === '[') {
        if (++this.#depth > maxNesting) return -1;
      } else if ((c === '}' || c === ']') && --this.#depth === 0) return this.#at + 1;
      else if (c === '<') return -1; // no JSON has it outside a string
    }
    return undefined;
  }
}
