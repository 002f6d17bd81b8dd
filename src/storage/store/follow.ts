/** While another tab downloads: its journal, read as it grows, moves this tab's board; its end, however it comes, frees the lock. */
import { throwIfAborted } from '../../errors';
import type { ChunkBoard } from './board';
import type { StoreDirectory } from './directory';
import type { Xxh64 } from './hash';
import type { StoreHost } from './host';
import { JournalFollower } from './journal';
import type { Release } from './locks';

/** Where a message was lost or never came; ms. */
const POLL_MS = 1000;

export type FollowOptions = {
  host: StoreHost;
  id: string;
  lockName: string;
  directory: StoreDirectory;
  hash: Xxh64;
  board: ChunkBoard;
  signal: AbortSignal;
  onChange(): void;
};

/** Resolves with the write lock, once the other tab let it go. @throws AbortError. */
export async function followUntilFree(options: FollowOptions): Promise<Release> {
  const { host, id, lockName, directory, hash, board, signal, onChange } = options;
  const follower = new JournalFollower(directory, hash);
  let wake = () => {};
  const stopListening = host.onAnnounced((announced) => {
    if (announced === id) wake();
  });
  let granted: Release | undefined;
  let failure: { error: unknown } | undefined;
  host.locks.take(lockName, 'exclusive', { wait: true, signal }).then(
    (release) => {
      if (signal.aborted) release?.();
      else granted = release;
      wake();
    },
    (error: unknown) => {
      failure = { error };
      wake();
    },
  );
  const onAbort = () => wake();
  signal.addEventListener('abort', onAbort);
  try {
    for (;;) {
      const woken = new Promise<void>((resolve) => {
        wake = resolve;
      });
      if (await follower.poll()) {
        mark(board, follower);
        onChange();
      }
      if (signal.aborted) granted?.();
      throwIfAborted(signal);
      if (failure) throw failure.error;
      if (granted) return granted;
      const timer = setTimeout(() => wake(), POLL_MS);
      await woken;
      clearTimeout(timer);
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    stopListening();
  }
}

function mark(board: ChunkBoard, { state }: JournalFollower): void {
  for (const [index, id] of board.ids.entries()) {
    const known = state.present.get(id);
    if (known && !board.isPresent(index)) board.present(index, known.hash);
    else if (!known && board.isPresent(index)) board.missing(index);
  }
}
