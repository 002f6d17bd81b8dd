/**
 * The checkpoint's own chat template, run by `@huggingface/jinja`. It is untrusted: its size, the length of `range()`, everything that
 * it builds and its output are bounded here, so that memory is; time is bounded by whoever can end the thread (`text_host.ts`).
 * Values print as Python prints them, which the library does not do by itself (`python_text.ts`).
 */
import { Environment, Interpreter, parse, tokenize } from '@huggingface/jinja';
import { EngineError } from '../errors';
import { DEFAULT_MAX_OUTPUT_BYTES } from './limits';
import { plainMessages } from './messages';
import { type JinjaValue, pythonStr } from './python_text';
import { strftime } from './strftime';
import { describe, isExhaustion } from './tokenizer_config';

export type RenderRequest = {
  messages: readonly Record<string, unknown>[];
  /** Tool definitions, passed on as they are; empty is none. */
  tools?: readonly unknown[];
  /** Ends the prompt with the opening of the assistant's turn. Default true. */
  addGenerationPrompt?: boolean;
  /** Further variables of the template. `enable_thinking` is always passed, false unless set here: templates disagree on its default. */
  templateKwargs?: Record<string, unknown>;
};

export type ChatTemplateOptions = {
  /** bos_token, eos_token and the like, which templates may name. */
  specialTokens?: Record<string, string>;
  /** Longest output, in bytes of UTF-8. Default 8 MiB. */
  maxOutputBytes?: number;
  /** The clock of `strftime_now`. */
  now?: () => Date;
};

/** Real templates are 3 to 30 KB. */
const MAX_TEMPLATE_CHARS = 1 << 20;
/** jinja2's sandbox has the same bound. */
const MAX_RANGE = 100_000;
/** Macro calls and nesting of expressions, in nodes of the syntax tree. Real templates stay under 60. */
const MAX_DEPTH = 400;
/** Strings and lists that a rendering may build in all, as a multiple of its output limit. Real templates copy their input some 30 times. */
const WORK_PER_OUTPUT = 16;

export class ChatTemplate {
  private readonly program: ReturnType<typeof parse>;
  private readonly printed: WeakSet<object>;
  private readonly options: Required<ChatTemplateOptions>;
  private tools: boolean | undefined;
  private readonly knowsDevelopers: boolean;
  private readonly showsFunctionTags: boolean;

  /** @throws EngineError 'format' if the template does not parse, 'limit' if it is too long or too deep */
  constructor(
    source: string,
    { specialTokens = {}, maxOutputBytes = DEFAULT_MAX_OUTPUT_BYTES, now = () => new Date() }: ChatTemplateOptions = {},
  ) {
    if (source.length > MAX_TEMPLATE_CHARS) {
      throw new EngineError(
        'limit',
        `The chat template has ${source.length} characters; at most ${MAX_TEMPLATE_CHARS} are read. Use another template.`,
      );
    }
    this.options = { specialTokens, maxOutputBytes, now };
    this.knowsDevelopers = source.includes('developer');
    this.showsFunctionTags = source.includes('<function=');
    this.program = guard('does not parse', () => parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true })));
    this.printed = guard('does not parse', () => findPrinted(this.program));
  }

  /** Whether the template shows tools to the model, found out by trying. @throws EngineError 'limit' */
  get showsTools(): boolean {
    this.tools ??= this.tryTools();
    return this.tools;
  }

  /** The syntax of tool calls that the model is shown; Sluice's own tool prompt shows JSON. */
  get callForm(): 'json' | 'xml' {
    return this.showsFunctionTags && this.showsTools ? 'xml' : 'json';
  }

  private tryTools(): boolean {
    const name = 'a_tool_to_try';
    const tool = { type: 'function', function: { name, description: name, parameters: { type: 'object', properties: {} } } };
    try {
      return this.render({ messages: [{ role: 'user', content: 'Hello' }], tools: [tool] }).includes(name);
    } catch (error) {
      if (error instanceof EngineError && error.code === 'format') return false;
      throw error;
    }
  }

  /**
   * @throws EngineError 'format' if the template fails or refuses the messages (its `raise_exception`), 'limit' if it builds too much,
   * 'unsupported-content' for parts that are not text
   */
  render({ messages, tools, addGenerationPrompt = true, templateKwargs = {} }: RenderRequest): string {
    const { specialTokens, maxOutputBytes } = this.options;
    const variables: Record<string, unknown> = {
      ...specialTokens,
      enable_thinking: false,
      ...templateKwargs,
      messages: plainMessages(messages).map((message) =>
        message.role === 'developer' && !this.knowsDevelopers ? { ...message, role: 'system' } : message,
      ),
      tools: tools ?? null, // transformers passes None
      add_generation_prompt: addGenerationPrompt,
    };
    const output = guard('failed', () => {
      const environment = new Environment();
      for (const [name, value] of Object.entries(this.globals())) environment.set(name, value);
      for (const [name, value] of Object.entries(variables)) {
        if (environment.variables.has(name)) {
          throw new EngineError(
            'invalid-request',
            `chat_template_kwargs.${name} would replace a name that templates rely on. Remove it.`,
          );
        }
        environment.set(name, value);
      }
      const interpreter = new BoundedInterpreter(environment, this.printed, maxOutputBytes);
      return interpreter.run(this.program).value as string;
    });
    if (utf8Exceeds(output, maxOutputBytes)) throw tooMuch(maxOutputBytes);
    return output;
  }

  private globals(): Record<string, unknown> {
    return {
      true: true,
      True: true,
      false: false,
      False: false,
      none: null,
      None: null,
      range: boundedRange,
      raise_exception: (message: unknown) => {
        throw new EngineError('format', `The chat template refuses these messages: ${describe(message)} Change the messages.`);
      },
      strftime_now: (format: unknown) => strftime(this.options.now(), String(format)),
    };
  }
}

type Statement = NonNullable<Parameters<Interpreter['evaluate']>[0]>;
type Value = ReturnType<Interpreter['evaluate']>;

/** Nodes that make a new string or list. Names, literals and fields hand out what exists. */
const BUILDS = new Set(
  'BinaryExpression FilterExpression FilterStatement CallExpression CallStatement MemberExpression For If ArrayLiteral TupleLiteral'.split(
    ' ',
  ),
);

class BoundedInterpreter extends Interpreter {
  private readonly printed: WeakSet<object>;
  private readonly maxOutputBytes: number;
  /** Operands of filters: `tojson` may write out a small graph of shared lists as an exponential text. */
  private readonly filtered = new WeakSet<object>();
  private work = 0;
  private depth = 0;

  constructor(environment: Environment, printed: WeakSet<object>, maxOutputBytes: number) {
    super(environment);
    this.printed = printed;
    this.maxOutputBytes = maxOutputBytes;
  }

  override evaluate(statement: Statement | undefined, environment: Environment): Value {
    if (!statement) return super.evaluate(statement, environment);
    // The library takes a stack overflow for an unknown variable, so it must not come to one.
    if (++this.depth > MAX_DEPTH) {
      throw new EngineError('limit', `The chat template nests more than ${MAX_DEPTH} deep. Use another template.`);
    }
    let value: Value;
    try {
      // The library gives a bare undefined for the first of an empty list.
      value = this.inPython(statement, environment) ?? super.evaluate(undefined, environment);
    } finally {
      this.depth--; // break and continue are exceptions too
    }
    const isPrinted = this.printed.has(statement);
    if (isPrinted || BUILDS.has(statement.type) || this.filtered.has(statement)) this.charge(value, statement);
    return isPrinted && value.type !== 'UndefinedValue' ? toStringValue(value) : value;
  }

  /** The two operators of jinja2 that turn any value into text are done here, the rest is the library's. */
  private inPython(statement: Statement, environment: Environment): Value | undefined {
    const node = statement as Statement & FilterNode & OperatorNode;
    if (node.type === 'FilterExpression') {
      this.filtered.add(node.operand);
      const isString = node.filter.type === 'Identifier' && node.filter.value === 'string';
      if (isString) return toStringValue(this.evaluate(node.operand, environment));
    }
    if (node.type === 'BinaryExpression' && node.operator.value === '~') {
      const left = this.evaluate(node.left, environment);
      return stringValue(pythonStr(left) + pythonStr(this.evaluate(node.right, environment)));
    }
    return super.evaluate(statement, environment);
  }

  private charge(value: Value, { type }: Statement): void {
    const size = writtenSize(value as JinjaValue, this.maxOutputBytes);
    if (size > this.maxOutputBytes) throw tooMuch(this.maxOutputBytes);
    const makesItems = type === 'CallExpression' || type === 'FilterExpression'; // others share the items of lists that exist
    this.work += Array.isArray(value.value) ? value.value.length * (makesItems ? 64 : 8) : size;
    if (this.work > WORK_PER_OUTPUT * this.maxOutputBytes) throw tooMuch(this.maxOutputBytes);
  }
}

type FilterNode = { operand: Statement; filter: { type: string; value: unknown } };
type OperatorNode = { operator: { value: string }; left: Statement; right: Statement };

/** About what a value takes in memory, or as many characters when written out; stops counting past `limit`. */
function writtenSize(value: JinjaValue, limit: number): number {
  if (typeof value.value === 'string') return value.value.length;
  let size = 0;
  const pending: JinjaValue[] = [value];
  while (pending.length > 0 && size <= limit) {
    const content = pending.pop()!.value;
    size += typeof content === 'string' ? content.length : 16;
    if (Array.isArray(content) || content instanceof Map) for (const item of content.values()) pending.push(item as JinjaValue);
  }
  return size;
}

/** A value of the library's own class, which it does not export. */
function stringValue(text: string): Value {
  return new Environment().set('text', text);
}

function toStringValue(value: Value): Value {
  return value.type === 'StringValue' ? value : stringValue(pythonStr(value as JinjaValue));
}

const NOT_PRINTED = new Set('Set If For Macro CallStatement FilterStatement Break Continue Comment'.split(' '));

/** The expressions whose value goes to the output: those that stand by themselves in a block. */
function findPrinted(program: object): WeakSet<object> {
  const printed = new WeakSet<object>();
  const visit = (node: object): void => {
    for (const block of ['body', 'alternate', 'defaultBlock'] as const) {
      const statements = (node as Record<string, unknown>)[block];
      if (!Array.isArray(statements)) continue;
      for (const statement of statements as Statement[]) {
        if (NOT_PRINTED.has(statement.type)) visit(statement);
        else printed.add(statement);
      }
    }
  };
  visit(program);
  return printed;
}

function boundedRange(first: unknown, second?: unknown, step: unknown = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second];
  if (![start, stop, step].every(Number.isSafeInteger)) throw new Error('range() takes whole numbers');
  const [from, to, by] = [start as number, stop as number, step as number];
  if (by === 0) throw new Error('range() step must not be zero');
  const length = Math.max(0, Math.ceil((to - from) / by));
  if (length > MAX_RANGE) {
    throw new EngineError(
      'limit',
      `The chat template asks for a range of ${length} numbers; at most ${MAX_RANGE} are made. Use another template.`,
    );
  }
  return Array.from({ length }, (_, i) => from + i * by);
}

function tooMuch(maxOutputBytes: number): EngineError {
  return new EngineError(
    'limit',
    `The chat template builds more text than a prompt of ${maxOutputBytes} bytes needs. Shorten the messages or use another template.`,
  );
}

function guard<T>(what: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (cause instanceof EngineError) throw cause;
    if (isExhaustion(cause)) {
      throw new EngineError(
        'limit',
        `The chat template ran out of room: ${describe(cause)}. Shorten the messages or use another template.`,
        { cause },
      );
    }
    throw new EngineError(
      'format',
      `The chat template ${what}: ${describe(cause)}. Use another template or pass a prompt in place of messages.`,
      { cause },
    );
  }
}

/** Whether the text is longer than `limit` bytes in UTF-8, counted without making the bytes. */
export function utf8Exceeds(text: string, limit: number): boolean {
  if (text.length > limit) return true;
  if (text.length * 3 <= limit) return false;
  let bytes = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    bytes += unit < 0x80 ? 1 : unit < 0x800 || (unit >= 0xd800 && unit < 0xe000) ? 2 : 3; // two halves of a pair make 4
  }
  return bytes > limit;
}
