/** Which tab may do what: Web Locks behind what the store asks of them, so that they end with their tab, however it ends. */

export type Release = () => void;

export interface StoreLocks {
  /** undefined where it is not free and `wait` is false, or the signal aborted while waiting. */
  take(
    name: string,
    mode: 'shared' | 'exclusive',
    options: { wait: boolean; signal?: AbortSignal },
  ): Promise<Release | undefined>;
  /** Holders of each lock, of all tabs. */
  held(): Promise<Map<string, number>>;
}

export function webLocks(manager: LockManager = navigator.locks): StoreLocks {
  return {
    take(name, mode, { wait, signal }) {
      return new Promise((resolve, reject) => {
        const options: LockOptions = wait ? { mode, signal } : { mode, ifAvailable: true };
        const hold = (lock: Lock | null) => {
          if (!lock) return resolve(undefined);
          // The lock is held until this promise settles.
          return new Promise<void>((release) => resolve(release));
        };
        manager.request(name, options, hold).catch((error: unknown) => {
          if (signal?.aborted) resolve(undefined);
          else reject(error);
        });
      });
    },
    async held() {
      const counts = new Map<string, number>();
      for (const { name = '' } of (await manager.query()).held ?? []) counts.set(name, (counts.get(name) ?? 0) + 1);
      return counts;
    },
  };
}
