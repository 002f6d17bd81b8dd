/** The page's side of its offline copy: registers the service worker of a built page, and says when a newer build is ready to take over. */

export type OfflineHooks = {
  /** A newer build waits. Called once for each. */
  onUpdate(): void;
};

export class Offline {
  #waiting: ServiceWorker | undefined;
  #started: Promise<void> | undefined;

  constructor(private readonly hooks: OfflineHooks) {}

  /** Nothing in development, where files change by the minute, and nothing without a secure context. */
  start(): void {
    if (import.meta.env.MODE !== 'production' || !navigator.serviceWorker) return;
    this.#started ??= this.#register();
  }

  /** Nothing is installed by this page any more. */
  async close(): Promise<void> {
    this.#started ??= Promise.resolve();
    await this.#started;
  }

  async #register(): Promise<void> {
    try {
      const registration = await navigator.serviceWorker.register(new URL('service-worker.js', document.baseURI), {
        updateViaCache: 'none',
      });
      this.#watch(registration);
    } catch (error) {
      if (!(error instanceof DOMException || error instanceof TypeError)) throw error; // the host has no such file, or storage is switched off
    }
  }

  /** Loads the newer build. Not while a reply runs. False where another tab still shows the older one, or nothing waits. */
  async update(): Promise<boolean> {
    const waiting = this.#waiting;
    if (!waiting) return false;
    const taken = new Promise<boolean>((resolve) => {
      navigator.serviceWorker.addEventListener('controllerchange', () => resolve(true), { once: true });
      setTimeout(() => resolve(false), 3000);
    });
    waiting.postMessage('take-over');
    if (!(await taken)) return false;
    location.reload();
    return true;
  }

  #watch(registration: ServiceWorkerRegistration): void {
    // The first one of all takes over by itself with the next visit; there is nothing older that it would replace.
    const look = (worker: ServiceWorker | null) => {
      if (worker?.state !== 'installed' || worker === this.#waiting || !navigator.serviceWorker.controller) return;
      this.#waiting = worker;
      this.hooks.onUpdate();
    };
    const follow = (worker: ServiceWorker | null) => worker?.addEventListener('statechange', () => look(worker));
    look(registration.waiting);
    follow(registration.installing); // the browser may have found it before this page asked
    registration.addEventListener('updatefound', () => follow(registration.installing));
  }
}
