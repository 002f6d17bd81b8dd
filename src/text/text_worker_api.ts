/**
 * What a text worker exposes. All of it is synchronous work on untrusted files, so it belongs in a thread of its own that the host
 * (`text_host.ts`) can end. Results are plain data: comlink and structured clones keep no error classes.
 */
import { EngineError, toWire, type WireError } from '../errors';
import { ChatTemplate, type RenderRequest, utf8Exceeds } from './chat_template';
import { serveConstraints } from './constraint_port';
import type { ConstraintRequest, ConstraintService, OpenedConstraint } from './constraint_service';
import { DEFAULT_MAX_OUTPUT_BYTES } from './limits';
import { plainMessages } from './messages';
import { TokenMarker } from './plain_tokens';
import type { StreamDecoder } from './stream_decoder';
import { type EncodeOptions, Tokenizer, type TokenText } from './tokenizer';
import { describe } from './tokenizer_config';
import { withToolPrompt } from './tool_prompt';

/** Texts of the checkpoint's files. */
export type TextFiles = {
  tokenizerJson: string;
  tokenizerConfig?: string;
  /** chat_template.jinja; it goes before a template in tokenizer_config.json. */
  chatTemplate?: string;
};

export type TextInfo = {
  /** One more than the largest token id. */
  vocabSize: number;
  hasChatTemplate: boolean;
  /** Added tokens that never become text, with their ids. */
  specialTokens: Record<string, number>;
  /** Added tokens that do become text (`<think>`, `<tool_call>`), with their ids. */
  addedTokens: Record<string, number>;
  /** Ids of the tokens that tokenizer_config.json names; undefined where it names none. */
  bosTokenId: number | undefined;
  eosTokenId: number | undefined;
};

/** `used` counts the ids consumed: all of them, or up to and including the one that completed a stop string. */
export type StreamPiece = { text: string; stopped: boolean; used: number };

/** `allowSpecialTokens`: names of special tokens in the messages become them. Default false: they stay text. */
export type ChatRequest = RenderRequest & { allowSpecialTokens?: boolean };
/** `opensThinking`: the prompt ends inside a think block, so that the reply begins there. */
export type ChatPrompt = { ids: number[]; opensThinking: boolean };

export type TextResult<T> = { value: T } | { error: WireError };

export interface TextWorkerApi {
  load(files: TextFiles, limits: { maxOutputBytes: number }): TextResult<TextInfo>;
  encode(text: string, options: EncodeOptions): TextResult<number[]>;
  decode(ids: number[]): TextResult<string>;
  render(request: RenderRequest): TextResult<string>;
  encodeChat(request: ChatRequest): TextResult<ChatPrompt>;
  describeTokens(ids: number[]): TextResult<TokenText[]>;
  /** Opens or reopens a stream; `ids` were pushed before, in another worker, and their text is known. */
  openStream(streamId: number, stop: string[], ids: number[]): TextResult<null>;
  push(streamId: number, ids: number[]): TextResult<StreamPiece>;
  /** The stream's rest; ends it. */
  finish(streamId: number): TextResult<string>;
  closeStream(streamId: number): TextResult<null>;
  /** Before the first `openConstraint`: loads the grammar library, and takes as long as loading the tokenizer may. */
  prepareConstraints(request: ConstraintRequest): Promise<TextResult<null>>;
  /** Opens or reopens a constraint; `tokens` were accepted before, in another worker. */
  openConstraint(id: number, request: ConstraintRequest, tokens: number[]): Promise<TextResult<OpenedConstraint>>;
  /** Where masks and tokens of opened constraints are asked about from then on. */
  connectConstraints(port: MessagePort): TextResult<null>;
  closeConstraint(id: number): TextResult<null>;
}

/** Longest list of added tokens reported by name; real ones have 20 to 1,000. */
const MAX_REPORTED_TOKENS = 4096;

export function createTextWorkerApi(): TextWorkerApi {
  let loaded: { chatTemplate: string | undefined; tokenizer: Tokenizer } | undefined;
  let maxOutputBytes = DEFAULT_MAX_OUTPUT_BYTES;
  const templates = new Map<string, ChatTemplate>();
  const streams = new Map<number, StreamDecoder>();
  let constraints: ConstraintService | undefined;

  const tokenizer = (): Tokenizer => {
    if (!loaded) throw new EngineError('internal', 'The text worker has no tokenizer yet. Call load first.');
    return loaded.tokenizer;
  };
  const stream = (id: number): StreamDecoder => {
    const found = streams.get(id);
    if (!found) throw new EngineError('internal', `The text worker has no stream ${id}. Open it first.`);
    return found;
  };
  const bounded = (text: string): string => {
    if (utf8Exceeds(text, maxOutputBytes)) throw tooLong(maxOutputBytes);
    return text;
  };
  const template = (wantsTools: boolean): ChatTemplate => {
    const { config } = tokenizer();
    const named = config.chatTemplates;
    const source = loaded?.chatTemplate ?? (wantsTools ? named.get('tool_use') : undefined) ?? named.get('default');
    if (source === undefined) {
      throw new EngineError(
        'unsupported',
        'This checkpoint has no chat template. Pass a prompt in place of messages, or add chat_template.jinja.',
      );
    }
    // Parsed on first use, not on load: a hostile one then runs under the short time limit.
    const parsed = templates.get(source) ?? new ChatTemplate(source, { specialTokens: config.specialTokens, maxOutputBytes });
    templates.set(source, parsed);
    return parsed;
  };

  const rendered = (request: RenderRequest): string => {
    const { messages, tools = [] } = request;
    const found = template(tools.length > 0);
    const calls = tools.length > 0 || messages.some(({ role, tool_calls }) => role === 'tool' || Array.isArray(tool_calls));
    if (!calls || found.showsTools) return found.render(request);
    return found.render({ ...request, messages: withToolPrompt(plainMessages(messages), tools), tools: [] });
  };

  const service = (): ConstraintService => {
    if (!constraints) throw new EngineError('internal', 'The text worker has no grammar library yet. Prepare it first.');
    return constraints;
  };
  /** With code of its own, which no other reply needs. */
  const startService = async (): Promise<ConstraintService> => {
    const { ConstraintService } = await import('./constraint_service');
    constraints ??= new ConstraintService(tokenizer(), () => (knowsTools() ? template(true).callForm : 'json'));
    return constraints;
  };
  const knowsTools = () => loaded?.chatTemplate !== undefined || tokenizer().config.chatTemplates.size > 0;

  return {
    load: (files, limits) =>
      result(() => {
        loaded = undefined;
        constraints = undefined;
        templates.clear();
        streams.clear();
        maxOutputBytes = limits.maxOutputBytes;
        // Not `files`: tokenizer.json is tens of megabytes of text, and the tokenizer holds all that is in it.
        const { chatTemplate } = files;
        const tokenizer = new Tokenizer(files.tokenizerJson, files.tokenizerConfig);
        loaded = { chatTemplate, tokenizer };
        return describeText(tokenizer, files);
      }),
    encode: (text, options) =>
      result(() => {
        const ids = tokenizer().encode(text, options);
        if (ids.length * 4 > maxOutputBytes) throw tooLong(maxOutputBytes);
        return ids;
      }),
    decode: (ids) => result(() => bounded(tokenizer().decode(ids))),
    render: (request) => result(() => bounded(rendered(request))),
    encodeChat: ({ allowSpecialTokens = false, ...request }) =>
      result(() => {
        const { marked, mark } = allowSpecialTokens ? { marked: request, mark: undefined } : markRequest(request, tokenizer());
        const text = rendered(marked);
        const opensThinking = text.trimEnd().endsWith('<think>');
        const ids = mark ? tokenizer().encodeMarked(text, mark) : tokenizer().encode(text, { allowSpecialTokens: true });
        if (ids.length * 4 > maxOutputBytes) throw tooLong(maxOutputBytes);
        return { ids, opensThinking };
      }),
    describeTokens: (ids) => result(() => ids.map((id) => tokenizer().describe(id))),
    openStream: (streamId, stop, ids) =>
      result(() => {
        const opened = tokenizer().openStream(stop);
        for (const id of ids) opened.push(id);
        streams.set(streamId, opened);
        return null;
      }),
    push: (streamId, ids) =>
      result(() => {
        const decoder = stream(streamId);
        let text = '';
        let used = 0;
        while (used < ids.length && !decoder.stopped) {
          text += decoder.push(ids[used++]!);
          if (text.length > maxOutputBytes) throw tooLong(maxOutputBytes);
        }
        return { text: bounded(text), stopped: decoder.stopped, used };
      }),
    finish: (streamId) =>
      result(() => {
        const rest = bounded(stream(streamId).finish());
        streams.delete(streamId);
        return rest;
      }),
    closeStream: (streamId) =>
      result(() => {
        streams.delete(streamId);
        return null;
      }),
    prepareConstraints: (request) =>
      asyncResult(async () => {
        await (await startService()).prepare(request);
        return null;
      }),
    openConstraint: (id, request, tokens) => asyncResult(() => service().open(id, request, tokens)),
    connectConstraints: (port) =>
      result(() => {
        serveConstraints(port, {
          mask: (id, remaining) => asyncResult(() => service().mask(id, remaining)),
          accept: (id, token, remaining) => result(() => service().accept(id, token, remaining)),
        });
        return null;
      }),
    closeConstraint: (id) =>
      result(() => {
        constraints?.close(id);
        return null;
      }),
  };
}

/** The same request with the names of tokens in it marked as text. */
function markRequest(request: RenderRequest, { specialTokens, addedTokens }: Tokenizer): { marked: RenderRequest; mark: string } {
  const messages = plainMessages(request.messages);
  const { tools, templateKwargs } = request;
  const marker = new TokenMarker([...specialTokens.keys(), ...addedTokens.keys()], written([messages, tools, templateKwargs]));
  const marked = {
    ...request,
    messages: marker.markMessages(messages),
    ...(tools ? { tools: marker.markAll(tools) as unknown[] } : {}),
    ...(templateKwargs ? { templateKwargs: marker.markAll(templateKwargs) as Record<string, unknown> } : {}),
  };
  return { marked, mark: marker.mark };
}

/** Every string of the request, in one. @throws EngineError 'invalid-request' for what has no end or no JSON */
function written(request: unknown): string {
  try {
    return JSON.stringify(request);
  } catch (cause) {
    throw new EngineError(
      'invalid-request',
      `Messages, tools and template options must be plain data: ${describe(cause)}. Remove what is not.`,
      { cause },
    );
  }
}

function result<T>(work: () => T): TextResult<T> {
  try {
    return { value: work() };
  } catch (error) {
    return { error: toWire(error) };
  }
}

async function asyncResult<T>(work: () => Promise<T>): Promise<TextResult<T>> {
  try {
    return { value: await work() };
  } catch (error) {
    return { error: toWire(error) };
  }
}

function tooLong(maxOutputBytes: number): EngineError {
  return new EngineError('limit', `The tokenizer or template gives more than ${maxOutputBytes} bytes. Shorten the text.`);
}

function describeText(tokenizer: Tokenizer, files: TextFiles): TextInfo {
  const { specialTokens, chatTemplates } = tokenizer.config;
  const idOf = (name: string) => (specialTokens[name] === undefined ? undefined : tokenizer.idOf(specialTokens[name]));
  const report = (tokens: ReadonlyMap<string, number>) => Object.fromEntries([...tokens].slice(0, MAX_REPORTED_TOKENS));
  return {
    vocabSize: tokenizer.vocabSize,
    hasChatTemplate: files.chatTemplate !== undefined || chatTemplates.has('default'),
    specialTokens: report(tokenizer.specialTokens),
    addedTokens: report(tokenizer.addedTokens),
    bosTokenId: idOf('bos_token'),
    eosTokenId: idOf('eos_token'),
  };
}
