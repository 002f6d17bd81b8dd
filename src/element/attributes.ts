/** Attributes as properties, for scripts and frameworks: what is undefined is absent. */

/** On a server that renders pages there is no such thing, and importing must not fail there. */
const Base = globalThis.HTMLElement ?? (class {} as typeof HTMLElement);

export class ReflectedAttributes extends Base {
  get model(): string | undefined {
    return this.getAttribute('model') ?? undefined;
  }
  set model(model: string | undefined) {
    this.#reflect('model', model);
  }
  /** '4GB', '1.5GiB'. */
  get gpuBudget(): string | undefined {
    return this.getAttribute('gpu-budget') ?? undefined;
  }
  set gpuBudget(budget: string | undefined) {
    this.#reflect('gpu-budget', budget);
  }
  /** Tokens of prompt and reply. */
  get context(): number | undefined {
    const text = this.getAttribute('context');
    return text === null ? undefined : Number(text);
  }
  set context(tokens: number | undefined) {
    this.#reflect('context', tokens);
  }
  get endpoint(): string | undefined {
    return this.getAttribute('endpoint') ?? undefined;
  }
  set endpoint(url: string | undefined) {
    this.#reflect('endpoint', url);
  }
  get endpointModel(): string | undefined {
    return this.getAttribute('endpoint-model') ?? undefined;
  }
  set endpointModel(model: string | undefined) {
    this.#reflect('endpoint-model', model);
  }
  get workerUrl(): string | undefined {
    return this.getAttribute('worker-url') ?? undefined;
  }
  set workerUrl(url: string | undefined) {
    this.#reflect('worker-url', url);
  }
  /** The system prompt. */
  get system(): string | undefined {
    return this.getAttribute('system') ?? undefined;
  }
  set system(text: string | undefined) {
    this.#reflect('system', text);
  }

  #reflect(name: string, value: string | number | undefined): void {
    if (value === undefined || value === null) this.removeAttribute(name);
    else this.setAttribute(name, String(value));
  }
}
