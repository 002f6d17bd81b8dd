/**
 * A `LanguageModel` in the shape of the browsers' Prompt API, on a model of the page's own choice. The global stays as it is unless
 * `installLanguageModel` is called.
 *
 *   const LanguageModel = createLanguageModel('owner/name', { gpuBudget: '4GB' });
 *   const session = await LanguageModel.create({ initialPrompts: [{ role: 'system', content: 'Be brief.' }] });
 *   for await (const text of session.promptStreaming('Hello')) console.log(text);
 */
import type { ModelRef } from '../../api';
import { throwIfAborted, unlessAborted } from '../../errors';
import { type LanguageModelOptions, SessionEngines } from './engines';
import { promptApiError } from './errors';
import { initialMessages, promptOf } from './messages';
import { type Sampling, SessionCore } from './session';
import type { Availability, CoreOptions, CreateOptions, PromptInput, PromptOptions, SamplingMode } from './types';

export type { LanguageModelOptions } from './engines';
export type * from './types';
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
  const engines = new SessionEngines(model, { contextOverflow: 'truncate', ...options });

  return class LanguageModel extends EventTarget {
    oncontextoverflow: ((event: Event) => unknown) | null = null;
    onquotaoverflow: ((event: Event) => unknown) | null = null;
    readonly #core: SessionCore;
    readonly #release: () => void;

    /** Not for callers: `create` makes sessions. */
    constructor(core: (onOverflow: () => void) => SessionCore, release: () => void) {
      super();
      if (typeof core !== 'function') throw new TypeError('Illegal constructor: use LanguageModel.create().');
      this.#core = core(() => this.#overflow());
      this.#release = release;
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
      const { engine, release } = await engines.acquire(monitor, create.signal).catch(rejectAsPromptApi);
      const session = new LanguageModel(
        (onOverflow) => new SessionCore(engine, sampling, messages, create.tools ?? [], onOverflow),
        release,
      );
      try {
        session.#core.contextUsage = await unlessAborted(session.#core.measure(messages), create.signal);
      } catch (error) {
        session.destroy(); // nobody else would
        throw promptApiError(error);
      }
      return session;
    }

    async prompt(input: PromptInput, prompt?: PromptOptions): Promise<string> {
      let text = '';
      for await (const piece of this.#core.reply(input, prompt)) text += piece;
      return text;
    }

    promptStreaming(input: PromptInput, prompt?: PromptOptions): ReadableStream<string> {
      const left = new AbortController(); // a generator's `return` waits for the next piece
      const signals = [left.signal, ...(prompt?.signal ? [prompt.signal] : [])];
      const reply = this.#core.reply(input, { ...prompt, signal: AbortSignal.any(signals) });
      return new ReadableStream<string>({
        async pull(controller) {
          const { done, value } = await reply.next(); // what it throws is the stream's error
          if (done) controller.close();
          else controller.enqueue(value);
        },
        async cancel() {
          left.abort();
          await reply.return(undefined);
        },
      });
    }

    async append(input: PromptInput, { signal }: { signal?: AbortSignal } = {}): Promise<undefined> {
      throwIfAborted(signal);
      await this.#core.append(input, signal);
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
      const { engine, release } = await engines.acquire(new EventTarget(), signal).catch(rejectAsPromptApi);
      return new LanguageModel((onOverflow) => this.#core.copy(onOverflow, engine), release);
    }

    destroy(): undefined {
      this.#core.destroy();
      this.#release();
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

function rejectAsPromptApi(error: unknown): never {
  throw promptApiError(error);
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
