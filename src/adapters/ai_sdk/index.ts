/**
 * Sluice for the Vercel AI SDK (`ai` 6 and 7): a LanguageModelV3, or V4, for generateText, streamText, agents and all that is built on them.
 *
 *   const model = sluice(() => createEngine('owner/name', { gpuBudget: '4GB' }));
 *   const { textStream } = streamText({ model, prompt: 'Tell a story.' });
 */
import type {
  LanguageModelV3,
  LanguageModelV3GenerateResult,
  LanguageModelV3Reasoning,
  LanguageModelV3Text,
  LanguageModelV3ToolCall,
} from '@ai-sdk/provider';
import type { ChatCompletionChunk, ChatEngine } from '../../api';
import { EngineError, isAbort } from '../../errors';
import { type Part, Parts } from './parts';
import { type CallOptions, requestOf } from './request';

/** An engine, on this device or at an endpoint, or a way to get one, which is called when the first reply is asked for. */
export type EngineSource = ChatEngine | (() => Promise<ChatEngine>);

/** A whole reply: what both specifications have of it. */
export type SluiceReply = Omit<LanguageModelV3GenerateResult, 'content'> & {
  content: (LanguageModelV3Text | LanguageModelV3Reasoning | LanguageModelV3ToolCall)[];
};

/**
 * A LanguageModelV4, for `ai` 7, by its shape: the types of that name are in `@ai-sdk/provider` 4 alone, and this module is to be read with 3
 * as well.
 */
export type SluiceModelV4 = {
  readonly specificationVersion: 'v4';
  readonly provider: string;
  readonly modelId: string;
  readonly supportedUrls: Record<string, RegExp[]>;
  doStream(options: CallOptions): Promise<{ stream: ReadableStream<Part> }>;
  doGenerate(options: CallOptions): Promise<SluiceReply>;
};

/** `modelId`: a name for logs; default the engine's model where that is known. */
export type SluiceOptions = { modelId?: string };

/**
 * `providerOptions: { sluice: { … } }` of a call are further fields of the request: min_p, chat_template_kwargs, ….
 * `specification`: of the model that comes back. `ai` 7 takes both, and tells a 'v4' how much it is to think. Default 'v3'.
 */
export function sluice(source: EngineSource, options: SluiceOptions & { specification: 'v4' }): SluiceModelV4;
export function sluice(source: EngineSource, options?: SluiceOptions & { specification?: 'v3' }): LanguageModelV3;
export function sluice(
  source: EngineSource,
  { modelId, specification = 'v3' }: SluiceOptions & { specification?: 'v3' | 'v4' } = {},
): LanguageModelV3 | SluiceModelV4 {
  let known: Promise<ChatEngine> | undefined;
  const engine = (): Promise<ChatEngine> => {
    if (typeof source !== 'function') return Promise.resolve(source);
    known ??= source().catch((error) => {
      known = undefined; // the next call tries again
      throw error;
    });
    return known;
  };
  const model = {
    provider: 'sluice',
    modelId: modelId ?? (typeof source === 'function' ? 'sluice' : source.info.model),
    supportedUrls: {},
    doStream: async (options: CallOptions) => ({ stream: (await start(await engine(), options)).stream }),
    doGenerate: async (options: CallOptions) => collect(await start(await engine(), options)),
  };
  return specification === 'v4' ? { ...model, specificationVersion: 'v4' } : { ...model, specificationVersion: 'v3' };
}

type Started = { stream: ReadableStream<Part>; warnings: LanguageModelV3GenerateResult['warnings'] };

/** Waits for the first chunk, which comes when the request is known to be sound: what is wrong with it is thrown, not streamed. */
async function start(engine: ChatEngine, options: CallOptions): Promise<Started> {
  const { request, warnings } = requestOf(options);
  const chunks = await engine.chat.completions.create(request, { signal: options.abortSignal });
  const iterator = chunks[Symbol.asyncIterator]();
  const first = await iterator.next();
  return { stream: streamOf(iterator, first, warnings), warnings };
}

function streamOf(
  chunks: AsyncIterator<ChatCompletionChunk>,
  first: IteratorResult<ChatCompletionChunk>,
  warnings: Started['warnings'],
): ReadableStream<Part> {
  const parts = new Parts();
  let next: IteratorResult<ChatCompletionChunk> | undefined = first;
  /** The parts of the next chunk, of which there may be none; undefined: it was the last one. */
  const step = async (): Promise<Part[] | undefined> => {
    const { done, value } = next ?? (await chunks.next());
    next = undefined;
    return done ? undefined : [...parts.of(value)];
  };
  return new ReadableStream<Part>({
    start: (controller) => controller.enqueue({ type: 'stream-start', warnings }),
    // A stream does not ask again after a pull that brought nothing.
    async pull(controller) {
      try {
        let brought = await step();
        while (brought?.length === 0) brought = await step();
        for (const part of brought ?? parts.end()) controller.enqueue(part);
        if (!brought) controller.close();
      } catch (error) {
        if (isAbort(error)) return controller.error(error);
        controller.enqueue({ type: 'error', error });
        controller.close();
      }
    },
    async cancel() {
      await chunks.return?.();
    },
  });
}

/** A whole reply from its stream. */
async function collect({ stream, warnings }: Started): Promise<SluiceReply> {
  const content: SluiceReply['content'] = [];
  const response: LanguageModelV3GenerateResult['response'] = {};
  const reader = stream.getReader();
  for (;;) {
    const { done, value: part } = await reader.read();
    if (done) throw new EngineError('internal', 'The reply ended without its last part.');
    if (part.type === 'error') throw part.error;
    if (part.type === 'text-start') content.push({ type: 'text', text: '' });
    if (part.type === 'reasoning-start') content.push({ type: 'reasoning', text: '' });
    const last = content.at(-1);
    if ((part.type === 'text-delta' || part.type === 'reasoning-delta') && last && 'text' in last) last.text += part.delta;
    if (part.type === 'tool-call') content.push(part);
    if (part.type === 'response-metadata')
      Object.assign(response, { id: part.id, modelId: part.modelId, timestamp: part.timestamp });
    if (part.type === 'finish') return { content, finishReason: part.finishReason, usage: part.usage, warnings, response };
  }
}
