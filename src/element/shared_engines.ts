/** Engines that several elements use at once: one for each key, loaded by the first who asks, unloaded when the last one lets go. */
import type { Engine, LoadProgress } from '../api';

export type StartEngine = (onProgress: (progress: LoadProgress) => void, signal: AbortSignal) => Promise<Engine>;

/** One element's hold on an engine. */
export type Lease = {
  /** Rejects with what went wrong in loading, or AbortError once it is released. */
  readonly engine: Promise<Engine>;
  /** Idempotent. */
  release(): void;
};

type Entry = {
  engine: Promise<Engine>;
  loading: AbortController;
  users: Set<(progress: LoadProgress) => void>;
  progress: LoadProgress | undefined;
};

export class SharedEngines {
  readonly #entries = new Map<string, Entry>();

  /** `onProgress` is told at once how far a load has come that another one began. */
  acquire(key: string, start: StartEngine, onProgress: (progress: LoadProgress) => void): Lease {
    const entry = this.#entries.get(key) ?? this.#start(key, start);
    // A function of its own, so that an element that asks twice holds twice.
    const user = (progress: LoadProgress) => onProgress(progress);
    entry.users.add(user);
    if (entry.progress) user(entry.progress);
    return { engine: entry.engine, release: () => this.#release(key, entry, user) };
  }

  #start(key: string, start: StartEngine): Entry {
    const loading = new AbortController();
    const users: Entry['users'] = new Set();
    const onProgress = (progress: LoadProgress) => {
      entry.progress = progress;
      for (const user of [...users]) user(progress);
    };
    const entry: Entry = { engine: start(onProgress, loading.signal), loading, users, progress: undefined };
    this.#entries.set(key, entry);
    entry.engine.then(
      ({ lost }) => lost.then(() => this.#forget(key, entry)), // whoever asks next gets a new one
      () => this.#forget(key, entry),
    );
    return entry;
  }

  #release(key: string, entry: Entry, user: (progress: LoadProgress) => void): void {
    if (!entry.users.delete(user) || entry.users.size > 0) return;
    this.#forget(key, entry);
    entry.loading.abort();
    entry.engine.then(
      (engine) => engine.unload(),
      () => {}, // it never came to be
    );
  }

  #forget(key: string, entry: Entry): void {
    if (this.#entries.get(key) === entry) this.#entries.delete(key);
  }
}

/** Of this page. */
export const pageEngines = new SharedEngines();

/** Equal for elements that may share: the same model under the same options. */
export function engineKey(model: string, options: object): string {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined);
  return JSON.stringify([model, entries.sort(([a], [b]) => (a < b ? -1 : 1))]);
}
