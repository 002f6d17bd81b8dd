/** A loaded model that answers requests: what the browser's worker and the Node command line have in common. */
import { EngineError } from '../errors';
import type { GenerationDefaults } from '../format/generation';
import type { Gpu } from '../gpu/device';
import type { EngineConfig, EngineInfo, GenerateEvent, GenerateRequest, LoadProgress } from '../protocol/engine';
import type { ByteSource, ModelFiles } from '../storage/byte_source';
import { windowCache } from '../storage/window_cache';
import { type OpenedCheckpoint, openCheckpoint } from '../stream/open_checkpoint';
import type { TextHost } from '../text/text_host';
import type { TextInfo } from '../text/text_worker_api';
import { generate } from './generate';
import { ModelSession, type SessionOptions, variantsOf } from './model_session';
import { ProgressMeter } from './progress';
import { FairQueue } from './queue';

const defaultContextTokens = 4096;

export type EngineParts = { gpu: Gpu; files: ModelFiles; text: TextHost };
type LoadOptions = { signal?: AbortSignal; onProgress?: (progress: LoadProgress) => void };

export class EngineCore {
  readonly session: ModelSession;
  readonly #files: ModelFiles;
  readonly #text: TextHost;
  readonly #textInfo: TextInfo | undefined;
  readonly #defaults: GenerationDefaults;
  readonly #queue = new FairQueue();

  private constructor(parts: EngineParts, session: ModelSession, defaults: GenerationDefaults, textInfo: TextInfo | undefined) {
    this.session = session;
    this.#files = parts.files;
    this.#text = parts.text;
    this.#defaults = defaults;
    this.#textInfo = textInfo;
  }

  /**
   * Loads checkpoint, tokenizer, weights and pipelines. The caller owns `parts` and releases them, also when this throws.
   * @throws EngineError of any kind; AbortError.
   */
  static async load(parts: EngineParts, config: EngineConfig, { signal, onProgress }: LoadOptions = {}): Promise<EngineCore> {
    const meter = new ProgressMeter(onProgress ?? (() => {}));
    meter.manifest(parts.files.label);
    const checkpoint = await openCheckpoint(parts.files, signal);
    const sources = new Map([...checkpoint.sources].map(([name, source]): [string, ByteSource] => [name, windowCache(source)]));
    try {
      const options = sessionOptions(config, checkpoint, parts.gpu);
      const [textInfo, session] = await both(signal, (joined) => [
        loadText(parts.text, checkpoint, joined),
        ModelSession.load(parts.gpu, { ...checkpoint, sources }, options, {
          signal: joined,
          onProgress: (p) => meter.session(p),
        }),
      ]);
      meter.ready();
      return new EngineCore(parts, session, checkpoint.generation, textInfo);
    } finally {
      for (const source of sources.values()) source.close();
    }
  }

  info(): EngineInfo {
    const { gpu, config, options, kernelLabels, parameterBytes } = this.session;
    return {
      model: this.#files.label,
      revision: this.#files.revision,
      adapter: gpu.adapter,
      variants: variantsOf(kernelLabels),
      contextTokens: options.contextTokens,
      chunkTokens: options.chunkTokens,
      kv: options.kv,
      vocabSize: config.vocabSize,
      parameterBytes,
      gpuBytes: gpu.memory.bytes,
      peakGpuBytes: gpu.memory.peakBytes,
      hasChatTemplate: this.#textInfo?.hasChatTemplate ?? false,
    };
  }

  /** The events of one request; it waits for those before it. @throws EngineError; AbortError */
  async *generate(request: GenerateRequest, signal: AbortSignal): AsyncGenerator<GenerateEvent, void, undefined> {
    const release = await this.#queue.enter(signal);
    try {
      const { config } = this.session;
      const textInfo = this.#requireText();
      const vocab = Math.min(config.vocabSize, textInfo.vocabSize);
      const stopIds = stopIdsOf([...config.eosTokenIds, ...this.#defaults.eosTokenIds], textInfo);
      yield* generate({ session: this.session, text: this.#text, defaults: this.#defaults, vocab, stopIds }, request, signal);
    } finally {
      release();
    }
  }

  async tokenize(text: string): Promise<number[]> {
    this.#requireText();
    return this.#text.encode(text, { allowSpecialTokens: true });
  }

  destroy(): void {
    this.session.destroy();
  }

  #requireText(): TextInfo {
    if (!this.#textInfo)
      throw new EngineError(
        'not-found',
        `${this.#files.label} has no tokenizer.json, so text cannot be read or written with it.`,
      );
    return this.#textInfo;
  }
}

/**
 * What ends a reply: the ids that the configs name, and the tokenizer's end of turn and of text. Small models and some
 * conversions name only one of the two in their configs, and a chat would run on past the other.
 */
function stopIdsOf(configured: readonly number[], { eosTokenId, specialTokens }: TextInfo): Set<number> {
  const named = [eosTokenId, specialTokens['<|im_end|>'], specialTokens['<|endoftext|>']];
  return new Set([...configured, ...named.filter((id) => id !== undefined)]);
}

async function loadText(
  text: TextHost,
  { tokenizerJson, tokenizerConfig, chatTemplate }: OpenedCheckpoint,
  signal?: AbortSignal,
): Promise<TextInfo | undefined> {
  if (tokenizerJson === undefined) return undefined;
  return text.load(
    {
      tokenizerJson,
      ...(tokenizerConfig === undefined ? {} : { tokenizerConfig }),
      ...(chatTemplate === undefined ? {} : { chatTemplate }),
    },
    { signal },
  );
}

/**
 * Tokenizer and model at the same time. When one fails the other is cancelled, and has ended before the error is thrown: a
 * bad tokenizer must not cost the download of the weights.
 */
async function both(
  signal: AbortSignal | undefined,
  start: (signal: AbortSignal) => [Promise<TextInfo | undefined>, Promise<ModelSession>],
): Promise<[TextInfo | undefined, ModelSession]> {
  const stop = new AbortController();
  const [text, session] = start(signal ? AbortSignal.any([signal, stop.signal]) : stop.signal);
  try {
    return await Promise.all([text, session]);
  } catch (error) {
    stop.abort();
    await text.catch(() => {});
    await session.then(
      (loaded) => loaded.destroy(),
      () => {},
    );
    throw error;
  }
}

/** A CPU adapter takes seconds per chunk, so its chunks are small: progress and cancel come between them. */
function sessionOptions(config: EngineConfig, { config: model }: OpenedCheckpoint, gpu: Gpu): SessionOptions {
  return {
    contextTokens: config.contextTokens ?? Math.min(defaultContextTokens, model.maxPositionEmbeddings),
    chunkTokens: config.chunkTokens ?? (gpu.adapter.isCpu ? 32 : 256),
    kv: config.kv ?? 'f16',
    f16: config.f16 ?? false,
  };
}
