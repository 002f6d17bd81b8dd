/** The worker's side of the protocol: one engine, requests by id, errors as plain data. */
import { proxy, type Remote, transfer } from 'comlink';
import { EngineError, throwIfAborted, toWire } from '../errors';
import { type Gpu, openGpu } from '../gpu/device';
import type {
  EngineConfig,
  EngineInfo,
  EngineWorkerApi,
  GenerateEvent,
  GenerateRequest,
  LoadProgress,
  ModelRef,
  TextWorkers,
} from '../protocol/engine';
import type { ModelFiles } from '../storage/byte_source';
import { openModel } from '../storage/model_ref';
import { createTextHost, type TextHost, type TextWorkerHandle } from '../text/text_host';
import { EngineCore } from './engine_core';

type Loaded = { core: EngineCore; gpu: Gpu; text: TextHost; files: ModelFiles };

export function createEngineWorker(): EngineWorkerApi {
  return new EngineWorker();
}

/** A text worker that the page starts: what is said before it listens waits in the port. */
function pageTextWorkers(page: Remote<TextWorkers>): () => TextWorkerHandle {
  let count = 0;
  return () => {
    const id = count++;
    const { port1, port2 } = new MessageChannel();
    let report: (message: string) => void = () => {};
    const started = page.start(
      id,
      transfer(port2, [port2]),
      proxy((message: string) => report(message)),
    );
    started.catch((error: Error) => report(error.message));
    return {
      port: port1,
      terminate: () => {
        port1.close();
        page.end(id).catch(() => {}); // the page may be gone
      },
      onFailure: (listener) => {
        report = (message) => listener({ kind: 'other', message });
      },
    };
  };
}

class EngineWorker implements EngineWorkerApi {
  readonly #requests = new Map<number, AbortController>();
  #resolveLost: (info: { reason: string; message: string }) => void = () => {};
  readonly #lost = new Promise<{ reason: string; message: string }>((resolve) => {
    this.#resolveLost = resolve;
  });
  #loading: AbortController | undefined;
  #loaded: Loaded | undefined;

  async load(model: ModelRef, config: EngineConfig, onProgress: (progress: LoadProgress) => void, textWorkers: TextWorkers) {
    this.#loading = new AbortController();
    const { signal } = this.#loading;
    const release: (() => void)[] = [];
    try {
      onProgress({ phase: 'manifest', loaded: 0, total: 0, progress: 0, text: 'Starting' });
      const gpu = await openGpu(navigator.gpu, { disable: config.disable ?? [] }); // before the network: without one nothing else matters
      release.push(() => gpu.device.destroy());
      void gpu.device.lost.then((info) => {
        if (info.reason !== 'destroyed') this.#resolveLost({ reason: info.reason, message: info.message });
      });
      throwIfAborted(signal);
      const files = await openModel(model, { ...config, signal });
      release.push(() => files.close());
      const spawn = pageTextWorkers(textWorkers as unknown as Remote<TextWorkers>); // what comlink makes of the page's object
      const text = createTextHost({
        spawn,
        ...(config.textTimeoutMs ? { timeoutMs: config.textTimeoutMs } : {}),
        ...(config.loadTimeoutMs ? { loadTimeoutMs: config.loadTimeoutMs } : {}),
      });
      release.push(() => text.dispose());
      const core = await EngineCore.load({ gpu, files, text }, config, { signal, onProgress });
      this.#loaded = { core, gpu, text, files };
      return { info: core.info() };
    } catch (error) {
      for (const undo of release.reverse()) undo();
      return { error: toWire(error) };
    } finally {
      this.#loading = undefined;
    }
  }

  cancelLoad(): void {
    this.#loading?.abort();
  }

  async generate(requestId: number, request: GenerateRequest, onEvent: (event: GenerateEvent) => void): Promise<void> {
    const controller = new AbortController();
    this.#requests.set(requestId, controller);
    try {
      if (!this.#loaded) throw new EngineError('unloaded', 'The engine was unloaded. Create a new one.');
      for await (const event of this.#loaded.core.generate(request, controller.signal)) onEvent(event);
    } catch (error) {
      onEvent({ type: 'error', error: toWire(error) });
    } finally {
      this.#requests.delete(requestId);
    }
  }

  cancel(requestId: number): void {
    this.#requests.get(requestId)?.abort();
  }

  async tokenize(text: string) {
    try {
      if (!this.#loaded) throw new EngineError('unloaded', 'The engine was unloaded. Create a new one.');
      return { ids: await this.#loaded.core.tokenize(text) };
    } catch (error) {
      return { error: toWire(error) };
    }
  }

  info(): EngineInfo | undefined {
    return this.#loaded?.core.info();
  }

  async unload(): Promise<void> {
    this.#loading?.abort();
    for (const controller of this.#requests.values()) controller.abort();
    const loaded = this.#loaded;
    this.#loaded = undefined;
    loaded?.core.destroy();
    loaded?.text.dispose();
    loaded?.files.close();
    loaded?.gpu.device.destroy();
  }

  lost() {
    return this.#lost;
  }
}
