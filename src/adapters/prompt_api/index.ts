/**
 * A `LanguageModel` in the shape of the browsers' Prompt API, on a model of the page's own choice. The global stays as it is unless
 * `installLanguageModel` is called.
 *
 *   const LanguageModel = createLanguageModel('owner/name', { gpuBudget: '4GB' });
 *   const session = await LanguageModel.create({ initialPrompts: [{ role: 'system', content: 'Be brief.' }] });
 *   for await (const text of session.promptStreaming('Hello')) console.log(text);
 */
import { createEngine, type Engine, type EngineOptions, type ModelRef, planModel } from '../../api';
import { EngineError, throwIfAborted, unlessAborted } from '../../errors';
import { promptApiError } from './errors';
import { initialMessages, promptOf } from './messages';
import { type Sampling, SessionCore } from './session';
import type { Availability, CoreOptions, CreateOptions, PromptInput, PromptOptions, SamplingMode } from './types';

export type * from './types';

export type LanguageModelOptions = Omit<EngineOptions, 'onProgress' | 'signal'>;
export type LanguageModelClass = ReturnType<typeof createLanguageModel>;

/** undefined: as the checkpoint has it. */
const MODES: Record<SamplingMode, number | undefined> = {
  'most-predictable': 0,
  predictable: 0.3,
  balanced: undefined,
  creative: 1,
  'most-creative': 1.4,
};
const PARAMS = { defaultTopK: 20, maxTopK: 128, defaultTemperature: 0.7, maxTemperature: 2 };

/** The class is for this one model; its sessions share an engine, which is loaded by the first and unloaded with the last. */
export function createLanguageModel(model: ModelRef, options: LanguageModelOptions = {}) {
  const engines = new SessionEngine(model, { contextOverflow: 'truncate', ...options });

  return class LanguageModel extends EventTarget {
    oncontextoverflow: ((event: Event) => unknown) | null = null;
    onquotaoverflow: ((event: Event) => unknown) | null = null;
    readonly #core: SessionCore;
    #destroyed = false;

    /** Not for callers: `create` makes sessions. */
    constructor(core: (onOverflow: () => void) => SessionCore) {
      super();
      if (typeof core !== 'function') throw new TypeError('Illegal constructor: use LanguageModel.create().');
      this.#core = core(() => this.#overflow());
    }

    static async availability(core: CoreOptions = {}): Promise<Availability> {
      return readsTextOnly(core) ? engines.availability() : 'unavailable';
    }

    static async params(): Promise<typeof PARAMS> {
      return { ...PARAMS };
    }

    static async create(create: CreateOptions = {}): Promise<LanguageModel> {
      throwIfAborted(create.signal);
      if (!readsTextOnly(create)) throw new DOMException('These models read and write text only.', 'NotSupportedError');
      const sampling = samplingOf(create);
      const messages = initialMessages(create.initialPrompts);
      const monitor = new EventTarget();
      create.monitor?.(monitor);
      const engine = await engines.acquire(monitor, create.signal).catch((error) => {
        throw promptApiError(error);
      });
      const session = new LanguageModel(
        (onOverflow) => new SessionCore(engine, sampling, messages, create.tools ?? [], onOverflow),
      );
      session.#core.contextUsage = await session.#core.measure(messages);
      return session;
    }

    async prompt(input: PromptInput, prompt?: PromptOptions): Promise<string> {
      let text = '';
      for await (const piece of this.#core.reply(input, prompt)) text += piece;
      return text;
    }

    promptStreaming(input: PromptInput, prompt?: PromptOptions): ReadableStream<string> {
      const reply = this.#core.reply(input, prompt);
      return new ReadableStream<string>({
        async pull(controller) {
          const { done, value } = await reply.next(); // what it throws is the stream's error
          if (done) controller.close();
          else controller.enqueue(value);
        },
        async cancel() {
          await reply.return(undefined);
        },
      });
    }

    async append(input: PromptInput, { signal }: { signal?: AbortSignal } = {}): Promise<undefined> {
      throwIfAborted(signal);
      await this.#core.append(input);
    }

    async measureContextUsage(input: PromptInput, _?: PromptOptions): Promise<number> {
      this.#core.checkUsable();
      return this.#core.measure(promptOf(input).messages);
    }

    measureInputUsage(input: PromptInput, prompt?: PromptOptions): Promise<number> {
      return this.measureContextUsage(input, prompt);
    }

    get contextUsage(): number {
      return this.#core.contextUsage;
    }
    get inputUsage(): number {
      return this.#core.contextUsage;
    }
    get contextWindow(): number {
      return this.#core.engine.info.contextTokens;
    }
    get inputQuota(): number {
      return this.contextWindow;
    }
    get topK(): number {
      return this.#core.sampling.topK ?? PARAMS.defaultTopK;
    }
    get temperature(): number {
      return this.#core.sampling.temperature ?? PARAMS.defaultTemperature;
    }

    async clone({ signal }: { signal?: AbortSignal } = {}): Promise<LanguageModel> {
      throwIfAborted(signal);
      this.#core.checkUsable();
      await engines.acquire(new EventTarget(), signal);
      return new LanguageModel((onOverflow) => this.#core.copy(onOverflow));
    }

    destroy(): undefined {
      if (this.#destroyed) return;
      this.#destroyed = true;
      this.#core.destroy();
      engines.release();
    }

    /** Two names: the second one is what the API called it first. */
    #overflow(): void {
      for (const type of ['contextoverflow', 'quotaoverflow'] as const) {
        const event = new Event(type);
        this[`on${type}`]?.call(this, event);
        this.dispatchEvent(event);
      }
    }
  };
}

/** Puts it in the browser's place; the function that it gives puts the browser's back. */
export function installLanguageModel(languageModel: LanguageModelClass, target: object = globalThis): () => void {
  const before = Object.getOwnPropertyDescriptor(target, 'LanguageModel');
  Object.defineProperty(target, 'LanguageModel', { value: languageModel, configurable: true, writable: true, enumerable: false });
  return () => {
    if (before) Object.defineProperty(target, 'LanguageModel', before);
    else Reflect.deleteProperty(target, 'LanguageModel');
  };
}

/** One engine for all sessions of a class. */
class SessionEngine {
  #engine: Promise<Engine> | undefined;
  #loading = new AbortController();
  #users = 0;
  #ready = false;
  readonly #monitors = new Set<EventTarget>();

  constructor(
    private readonly model: ModelRef,
    private readonly options: LanguageModelOptions,
  ) {}

  async availability(): Promise<Availability> {
    if (this.#engine) return this.#ready ? 'available' : 'downloading';
    try {
      const { onPressure: _, ...options } = this.options;
      const { disk } = await planModel(this.model, options);
      return disk.home === 'local' || (disk.neededBytes > 0 && disk.storedBytes >= disk.neededBytes)
        ? 'available'
        : 'downloadable';
    } catch (error) {
      if (error instanceof EngineError) return 'unavailable';
      throw error;
    }
  }

  async acquire(monitor: EventTarget, signal: AbortSignal | undefined): Promise<Engine> {
    this.#users++;
    this.#monitors.add(monitor);
    try {
      this.#engine ??= this.#load();
      const engine = await unlessAborted(this.#engine, signal);
      report(monitor, 1);
      return engine;
    } catch (error) {
      this.release();
      throw error;
    } finally {
      this.#monitors.delete(monitor);
    }
  }

  release(): void {
    if (--this.#users > 0) return;
    this.#loading.abort();
    this.#engine?.then(
      (engine) => engine.unload(),
      () => {}, // it never came to be
    );
    this.#engine = undefined;
    this.#ready = false;
  }

  #load(): Promise<Engine> {
    this.#loading = new AbortController();
    const onProgress: EngineOptions['onProgress'] = ({ progress }) => {
      for (const monitor of this.#monitors) if (progress < 1) report(monitor, progress);
    };
    const engine = createEngine(this.model, { ...this.options, onProgress, signal: this.#loading.signal });
    engine.then(
      () => {
        if (this.#engine === engine) this.#ready = true;
      },
      () => {
        if (this.#engine === engine) this.#engine = undefined; // the next session tries again
      },
    );
    return engine;
  }
}

/** `loaded` of 1, as the API has it. */
function report(monitor: EventTarget & { ondownloadprogress?: ((event: Event) => void) | null }, loaded: number): void {
  const event = new ProgressEvent('downloadprogress', { lengthComputable: true, loaded, total: 1 });
  monitor.ondownloadprogress?.(event);
  monitor.dispatchEvent(event);
}

function readsTextOnly({ expectedInputs = [], expectedOutputs = [] }: CoreOptions): boolean {
  return [...expectedInputs, ...expectedOutputs].every(({ type }) => type === 'text');
}

/** @throws TypeError where mode and values are mixed; RangeError */
function samplingOf({ samplingMode, temperature, topK }: CoreOptions): Sampling {
  if (samplingMode !== undefined) {
    if (temperature !== undefined || topK !== undefined)
      throw new TypeError('Use samplingMode, or temperature and topK, not both.');
    if (!(samplingMode in MODES)) throw new TypeError(`'${samplingMode}' is not a samplingMode.`);
    return { temperature: MODES[samplingMode], topK: undefined };
  }
  if (temperature !== undefined && !(temperature >= 0 && temperature <= PARAMS.maxTemperature))
    throw new RangeError(`temperature must be from 0 to ${PARAMS.maxTemperature}.`);
  if (topK !== undefined && !(topK >= 1 && topK <= PARAMS.maxTopK))
    throw new RangeError(`topK must be from 1 to ${PARAMS.maxTopK}.`);
  return { temperature, topK: topK === undefined ? undefined : Math.floor(topK) };
}
