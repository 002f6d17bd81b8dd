/** What the store needs of the browser besides files: locks, a channel between tabs, and the quota. */
import { EngineError } from '../../errors';
import { opfsDirectory, type StoreDirectory } from './directory';
import { type StoreLocks, webLocks } from './locks';
import { openPatiently } from './small_file';

export interface StoreHost {
  /** Holds everything of the store. */
  root: StoreDirectory;
  locks: StoreLocks;
  /** Bytes that the origin may still store, as far as the browser tells; undefined where it does not. */
  freeBytes(): Promise<number | undefined>;
  /** The browser may grant more than it tells (Chrome). */
  grantsMore: boolean;
  /** Asks that nothing be evicted. false where it is refused, or cannot be asked in a worker. */
  persist(): Promise<boolean>;
  /** Tells the other tabs that a model's journal grew. Carries the model's id and nothing else. */
  announce(id: string): void;
  /** @returns a function that ends it. */
  onAnnounced(listen: (id: string) => void): () => void;
  close(): void;
}

const CHANNEL = 'sluice/v1/store';

/** undefined where there is no private file system: a private window, an insecure address, an old browser. */
export async function browserHost(): Promise<StoreHost | undefined> {
  try {
    const top = opfsDirectory(await navigator.storage.getDirectory());
    const v1 = await (await top.directory('sluice', { create: true }))!.directory('v1', { create: true });
    const root = (await v1!.directory('models', { create: true }))!;
    // Some private windows give a directory and refuse the files; and a page thread has no synchronous access.
    (await openPatiently(v1!, 'probe', { create: true })).close();
    return { root, locks: webLocks(), ...quota(), ...tabChannel() };
  } catch {
    return undefined;
  }
}

function quota(): Pick<StoreHost, 'freeBytes' | 'grantsMore' | 'persist'> {
  return {
    async freeBytes() {
      const { quota, usage } = await navigator.storage.estimate().catch((): StorageEstimate => ({}));
      return quota === undefined ? undefined : Math.max(0, quota - (usage ?? 0));
    },
    grantsMore: /\bChrom(e|ium)\//.test(navigator.userAgent),
    persist: async () => (await navigator.storage.persist?.().catch(() => false)) ?? false,
  };
}

/** A BroadcastChannel of this thread. */
export function tabChannel(): Pick<StoreHost, 'announce' | 'onAnnounced' | 'close'> {
  const channel = new BroadcastChannel(CHANNEL);
  return {
    announce: (id) => channel.postMessage({ type: 'progress', id }),
    onAnnounced(listen) {
      const onMessage = ({ data }: MessageEvent) => {
        if (typeof data?.id === 'string') listen(data.id);
      };
      channel.addEventListener('message', onMessage);
      return () => channel.removeEventListener('message', onMessage);
    },
    close: () => channel.close(),
  };
}

/** For changes of size by the file system's own bookkeeping. */
const MARGIN_BYTES = 1 << 20;

/**
 * Before the first byte of a download. @returns a warning where the browser tells of less than is needed but may grant more.
 * @throws EngineError 'storage' where it does not grant it.
 */
export async function checkSpace(host: StoreHost, neededBytes: number): Promise<string | undefined> {
  if (neededBytes === 0) return undefined;
  await host.persist();
  const free = await host.freeBytes();
  if (free === undefined || free >= neededBytes + MARGIN_BYTES) return undefined;
  const facts = `This download needs ${size(neededBytes)} more on disk, and the browser grants ${size(free)}.`;
  if (host.grantsMore) return `${facts} It may grant more when asked; if it does not, delete a stored model.`;
  throw new EngineError('storage', `${facts} Free disk space, delete a stored model, or let this site store data permanently.`);
}

export function size(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.max(1, Math.ceil(bytes / 1e6))} MB`;
}
