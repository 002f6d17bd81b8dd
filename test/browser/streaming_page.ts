/** A tab with the page of `streaming.html`, and its calls with a failure thrown. */
import type { EngineConfig, EngineInfo, PlanReport, StoredModel } from '../../src/api';
import { poll } from './launch';
import type { Answer, Failure, FirstText } from './streaming';
import type { Tab } from './tabs';

export function ok<T extends object>(result: T | Failure): T {
  if ('code' in result) throw new Error(`${result.code}: ${result.message}`);
  return result;
}

export class StreamingPage {
  readonly #tab: Tab;
  readonly #model: string;
  readonly #config: EngineConfig;

  /** `config`: for every call that takes one. */
  static async open(tab: Tab, origin: string, model: string, config: EngineConfig): Promise<StreamingPage> {
    await tab.open(`${origin}test/browser/streaming.html`);
    await poll('the page', () => tab.evaluate(() => (window.streaming ? true : undefined)));
    return new StreamingPage(tab, model, config);
  }

  private constructor(tab: Tab, model: string, config: EngineConfig) {
    this.#tab = tab;
    this.#model = model;
    this.#config = config;
  }

  #with(more: EngineConfig) {
    return [this.#model, { ...this.#config, ...more }] as const;
  }

  plan(more: EngineConfig): Promise<PlanReport | Failure> {
    return this.#tab.evaluate(([model, config]) => window.streaming!.plan(model, config), this.#with(more));
  }

  async load(more: EngineConfig): Promise<PlanReport> {
    return ok(await this.#tab.evaluate(([model, config]) => window.streaming!.load(model, config), this.#with(more)));
  }

  /** Does not wait for it. */
  async startLoading(more: EngineConfig): Promise<void> {
    await this.#tab.evaluate(([model, config]) => void window.streaming!.load(model, config), this.#with(more));
  }

  async ask(prompt: string, maxTokens: number, logprobs?: number): Promise<Answer> {
    const call = [prompt, maxTokens, logprobs] as const;
    return ok(await this.#tab.evaluate((request) => window.streaming!.ask(...request), call));
  }

  async firstText(more: EngineConfig, prompt: string, maxTokens: number): Promise<FirstText> {
    const call = [this.#with(more), prompt, maxTokens] as const;
    return ok(await this.#tab.evaluate(([model, text, tokens]) => window.streaming!.firstText(...model, text, tokens), call));
  }

  /** Milliseconds. */
  async download(more: EngineConfig = {}): Promise<number> {
    return ok(await this.#tab.evaluate(([model, config]) => window.streaming!.download(model, config), this.#with(more))).ms;
  }

  info(): Promise<EngineInfo> {
    return this.#tab.evaluate(() => window.streaming!.info());
  }

  async unload(): Promise<void> {
    await this.#tab.evaluate(() => window.streaming!.unload());
  }

  list(): Promise<StoredModel[]> {
    return this.#tab.evaluate(() => window.streaming!.list());
  }

  remove(id: string): Promise<Failure | undefined> {
    return this.#tab.evaluate((which) => window.streaming!.remove(which), id);
  }

  /** @throws where a model stays. */
  async empty(): Promise<void> {
    for (const { id } of await this.list()) ok((await this.remove(id)) ?? {});
  }

  /** Rejections that nobody heard, since the page was opened. */
  unhandled(): Promise<string[]> {
    return this.#tab.evaluate(() => window.streaming!.unhandled());
  }

  /** Whether the page has SharedArrayBuffer, or could have. */
  sharesMemory(): Promise<boolean> {
    return this.#tab.evaluate(() => window.streaming!.sharesMemory());
  }

  /** Messages of other tabs, since the page was opened. */
  heard(): Promise<unknown[]> {
    return this.#tab.evaluate(() => window.streaming!.heard());
  }

  close(): Promise<void> {
    return this.#tab.close();
  }
}
