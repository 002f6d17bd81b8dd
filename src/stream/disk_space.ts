/** What the browser tells of its storage; undefined where it tells nothing (Node too). */

/** Bytes that this origin may still store. Chrome grants more than it tells, rather than less. */
export async function availableBytes(): Promise<number | undefined> {
  const { quota, usage } =
    (await storage()
      ?.estimate?.()
      .catch(() => undefined)) ?? {};
  return quota === undefined ? undefined : Math.max(0, quota - (usage ?? 0));
}

/** Whether the browser promised not to evict what is stored. */
export async function isPersisted(): Promise<boolean | undefined> {
  return storage()
    ?.persisted?.()
    .catch(() => undefined);
}

function storage(): Partial<StorageManager> | undefined {
  return (globalThis as { navigator?: { storage?: StorageManager } }).navigator?.storage;
}
