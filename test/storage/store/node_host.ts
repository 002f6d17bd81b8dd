/**
 * The store's host over a real folder and real files, for Node, which has neither OPFS nor (before 24) Web Locks. Several hosts over
 * one folder are several tabs: handles are exclusive between them, as in Firefox, and `die` ends one as a crash would.
 */
import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { EngineError } from '../../../src/errors';
import { memorySource } from '../../../src/storage/memory';
import type { StoreDirectory, StoreFile } from '../../../src/storage/store/directory';
import { type StoreHost, tabChannel } from '../../../src/storage/store/host';
import type { Release, StoreLocks } from '../../../src/storage/store/locks';

/** What all tabs of one browser share. */
export class NodeOrigin {
  readonly locks = new LockTable();
  /** Path -> the tab that has it open. */
  readonly openFiles = new Map<string, NodeTab>();
  constructor(readonly folder: string) {}

  tab(options: TabOptions = {}): NodeTab {
    return new NodeTab(this, options);
  }
}

export type TabOptions = {
  /** Bytes that writes may still add before the disk is full. */
  diskBytes?: number;
  /** How a full disk shows: a thrown QuotaExceededError, a short count, or Chrome 150's -8 as an unsigned number. */
  fullDisk?: 'throw' | 'short' | 'minus-8';
  /** Called before each write, with the path; throwing there is a crash before it. */
  onWrite?: (path: string, bytes: Uint8Array) => void;
  /** Says that a write to this path has been done, and does nothing. */
  loses?: (path: string, bytes: Uint8Array) => boolean;
  /** Called with the bytes of each read of a file. */
  onRead?: (path: string, byteLength: number) => void;
  freeBytes?: number;
  grantsMore?: boolean;
};

export class NodeTab implements StoreHost {
  readonly root: StoreDirectory;
  readonly locks: StoreLocks;
  readonly grantsMore: boolean;
  dead = false;
  /** Paths of files opened, in order. */
  readonly opened: string[] = [];
  private readonly channel = tabChannel();
  private readonly handles = new Set<StoreFile>();

  constructor(
    readonly origin: NodeOrigin,
    readonly options: TabOptions,
  ) {
    this.root = nodeDirectory(join(origin.folder, 'models'), this);
    mkdirSync(join(origin.folder, 'models'), { recursive: true });
    this.locks = origin.locks.of(this);
    this.grantsMore = options.grantsMore ?? false;
  }

  freeBytes = async () => this.options.freeBytes;
  persist = async () => false;
  announce = (id: string) => (this.dead ? undefined : this.channel.announce(id));
  onAnnounced = (listen: (id: string) => void) => this.channel.onAnnounced(listen);
  close = () => this.channel.close();

  /** Nothing more of this tab reaches the disk; its locks and handles go free. */
  die(): void {
    this.dead = true;
    for (const handle of [...this.handles]) handle.close();
    this.origin.locks.releaseAll(this);
    this.channel.close();
  }

  openFile(path: string, create: boolean): StoreFile {
    this.live();
    if (this.origin.openFiles.has(path)) {
      const cause = new DOMException('held', 'NoModificationAllowedError');
      throw new EngineError('storage', `${path} is open in another tab or worker. Close it there and try again.`, { cause });
    }
    if (!create && !existsSync(path)) throw new EngineError('not-found', `There is no file ${path}.`);
    this.opened.push(path);
    const descriptor = openSync(path, existsSync(path) ? 'r+' : 'w+');
    this.origin.openFiles.set(path, this);
    let closed = false;
    const open = () => {
      this.live();
      if (closed) throw new DOMException('closed', 'InvalidStateError');
      return descriptor;
    };
    const file: StoreFile = {
      getSize: () => fstatSync(open()).size,
      read: (into, { at }) => {
        this.options.onRead?.(path, into.byteLength);
        return readSync(open(), into, 0, into.byteLength, at);
      },
      write: (bytes, { at }) => this.write(open(), path, bytes, at),
      truncate: (byteLength) => ftruncateSync(open(), byteLength),
      flush: () => fsyncSync(open()),
      close: () => {
        if (closed) return;
        closed = true;
        closeSync(descriptor);
        this.handles.delete(file);
        this.origin.openFiles.delete(path);
      },
    };
    this.handles.add(file);
    return file;
  }

  private write(descriptor: number, path: string, bytes: Uint8Array, at: number): number {
    this.options.onWrite?.(path, bytes);
    this.live();
    if (this.options.loses?.(path, bytes)) return bytes.byteLength;
    const room = this.options.diskBytes ?? Number.POSITIVE_INFINITY;
    const count = Math.min(room, bytes.byteLength);
    if (count > 0) writeSync(descriptor, bytes, 0, count, at);
    this.options.diskBytes = room - count;
    if (count === bytes.byteLength) return count;
    if (this.options.fullDisk === 'short') return count;
    if (this.options.fullDisk === 'minus-8') return 4_294_967_288;
    throw new DOMException('full', 'QuotaExceededError');
  }

  live(): void {
    if (this.dead) throw new EngineError('storage', 'this tab has died');
  }
}

function nodeDirectory(path: string, tab: NodeTab): StoreDirectory {
  const bytesOf = (name: string) => {
    if (!existsSync(join(path, name))) throw new EngineError('not-found', `There is no file ${name}.`);
    return new Uint8Array(readFileSync(join(path, name)));
  };
  return {
    async directory(name, { create = false } = {}) {
      tab.live();
      const folder = join(path, name);
      if (create) mkdirSync(folder, { recursive: true });
      return existsSync(folder) ? nodeDirectory(folder, tab) : undefined;
    },
    async list() {
      const entries = readdirSync(path, { withFileTypes: true });
      return entries.map((entry) => ({ name: entry.name, kind: entry.isDirectory() ? 'directory' : 'file' }));
    },
    async remove(name) {
      tab.live();
      const prefix = join(path, name);
      const held = [...tab.origin.openFiles.keys()].some((file) => file === prefix || file.startsWith(`${prefix}/`));
      if (held) throw new EngineError('storage', `${name} is open in another tab or worker.`);
      rmSync(prefix, { recursive: true, force: true });
    },
    open: async (name, { create = false } = {}) => tab.openFile(join(path, name), create),
    async stat(name) {
      const stat = statSync(join(path, name), { throwIfNoEntry: false });
      return stat && { byteLength: stat.size, lastModified: stat.mtimeMs };
    },
    async snapshot(name) {
      tab.live();
      return memorySource(bytesOf(name), name);
    },
  };
}

type Holder = { tab: NodeTab; mode: 'shared' | 'exclusive' };

/** Locks between tabs of one process, first come first served. */
class LockTable {
  private readonly held = new Map<string, Set<Holder>>();
  private readonly waiting: (Holder & { name: string; grant: (release: Release | undefined) => void })[] = [];

  of(tab: NodeTab): StoreLocks {
    return {
      take: (name, mode, { wait, signal }) =>
        new Promise((resolve) => {
          const request = { tab, mode, name, grant: resolve };
          this.waiting.push(request);
          this.serve();
          const stillWaits = () => this.waiting.includes(request);
          const giveUp = () => {
            if (!stillWaits()) return;
            this.waiting.splice(this.waiting.indexOf(request), 1);
            resolve(undefined);
          };
          if (!wait) giveUp();
          signal?.addEventListener('abort', giveUp);
        }),
      held: async () => new Map([...this.held].map(([name, holders]) => [name, holders.size])),
    };
  }

  releaseAll(tab: NodeTab): void {
    for (const holders of this.held.values()) for (const holder of [...holders]) if (holder.tab === tab) holders.delete(holder);
    const alive = this.waiting.filter((request) => request.tab !== tab);
    this.waiting.splice(0, this.waiting.length, ...alive);
    this.serve();
  }

  private serve(): void {
    for (const request of [...this.waiting]) {
      const holders = this.held.get(request.name) ?? new Set<Holder>();
      const blocked = [...holders].some(({ mode }) => mode === 'exclusive' || request.mode === 'exclusive');
      if (blocked) continue;
      this.held.set(request.name, holders.add(request));
      this.waiting.splice(this.waiting.indexOf(request), 1);
      request.grant(() => {
        holders.delete(request);
        this.serve();
      });
    }
  }
}
