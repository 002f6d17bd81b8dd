/** Engines that several users of a page share: one for each key, loaded by the first who asks, unloaded when the last one lets go. */
import type { LoadProgress, Pressure } from '../protocol/engine';
import type { Engine } from './types';

export type StartEngine = (
  onProgress: (progress: LoadProgress) => void,
  signal: AbortSignal,
  onPressure: (pressure: Pressure) => void,
) => Promise<Engine>;

/** One user's hold on an engine. */
export type Lease = {
  /** Rejects with what went wrong in loading, or AbortError once it is released. */
  readonly engine: Promise<Engine>;
  /** Idempotent. */
  release(): void;
};

type User = { onProgress(progress: LoadProgress): void; onPressure(pressure: Pressure): void };
type Entry = {
  engine: Promise<Engine>;
  loading: AbortController;
  users: Set<User>;
  progress: LoadProgress | undefined;
  ready: boolean;
};

export class SharedEngines {
  readonly #entries = new Map<string, Entry>();

  /** `onProgress` is told at once how far a load has come that another one began. */
  acquire(key: string, start: StartEngine, onProgress: User['onProgress'], onPressure: User['onPressure'] = () => {}): Lease {
    const entry = this.#entries.get(key) ?? this.#start(key, start);
    const user: User = { onProgress, onPressure }; // whoever asks twice holds twice
    entry.users.add(user);
    if (entry.progress) user.onProgress(entry.progress);
    return { engine: entry.engine, release: () => this.#release(key, entry, user) };
  }

  /** Undefined where whoever asks next begins a load. */
  stateOf(key: string): 'loading' | 'ready' | undefined {
    const entry = this.#entries.get(key);
    return entry && (entry.ready ? 'ready' : 'loading');
  }

  #start(key: string, start: StartEngine): Entry {
    const loading = new AbortController();
    const users: Entry['users'] = new Set();
    const onProgress = (progress: LoadProgress) => {
      entry.progress = progress;
      for (const user of [...users]) user.onProgress(progress);
    };
    const onPressure = (pressure: Pressure) => {
      for (const user of [...users]) user.onPressure(pressure);
    };
    const engine = start(onProgress, loading.signal, onPressure);
    const entry: Entry = { engine, loading, users, progress: undefined, ready: false };
    this.#entries.set(key, entry);
    entry.engine.then(
      ({ lost }) => {
        entry.ready = true;
        void lost.then(() => this.#forget(key, entry)); // whoever asks next gets a new one
      },
      () => this.#forget(key, entry),
    );
    return entry;
  }

  #release(key: string, entry: Entry, user: User): void {
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

/** Equal for users that may share: the same model under the same options. */
export function engineKey(model: string, options: object): string {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined);
  return JSON.stringify([model, entries.sort(([a], [b]) => (a < b ? -1 : 1))]);
}
