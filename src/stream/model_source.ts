/**
 * From what a user names to bytes that can be loaded: out of the store if it is there, with a download that fills it if it is not,
 * straight from the network where nothing can be kept, or from files on this machine, which are not copied.
 */
import { throwIfAborted } from '../errors';
import type { StoreIndex } from '../plan/blocks';
import type { ModelFiles } from '../storage/byte_source';
import { type OpenModelOptions, openModel } from '../storage/model_ref';
import { openModelStore } from '../storage/store/store';
import type { Download, DownloadProgress, ModelStore } from '../storage/store/types';
import type { Sources } from './fill';
import { modelKey, type RemoteRef } from './model_key';
import type { OpenedCheckpoint } from './open_checkpoint';
import { openPlain } from './plain_source';
import { openStoredModel, type StoreLayouts, storeLayouts } from './stored_model';

export type ModelSourceOptions = Omit<OpenModelOptions, 'signal'> & {
  /** Cancels the opening. Afterwards `close` ends everything. */
  signal?: AbortSignal;
  /** Default 'opfs'. */
  storage?: 'opfs' | 'none';
  /** 'full': hash everything stored again, and compare all with the hub's sha256, skipped tensors too. Needs the network. */
  verify?: 'changed' | 'full';
  /** Look for another version of a stored model. Needs the network. */
  update?: boolean;
  /** false: tokenizer and template are not read. Default true. */
  text?: boolean;
  /** Look only: nothing is stored and no download starts; bytes that are not there cannot be read. Default false. */
  peek?: boolean;
  /** Stays open when the model is closed. Default: one of its own. */
  store?: ModelStore;
  onDownload?: (progress: DownloadProgress) => void;
};

export type DiskUse = {
  /** Bytes that the model takes in the store when complete; 0 for files on this machine. */
  neededBytes: number;
  storedBytes: number;
  /** Bytes that may still be stored, as far as the browser tells. */
  availableBytes: number | undefined;
  /** Whether the browser promised not to evict what is stored. */
  persisted: boolean | undefined;
};

export type ModelSource = {
  /** What the user asked for, for messages and the page. */
  readonly label: string;
  readonly revision: string | undefined;
  /**
   * Of weights and config: what was computed with them is good for another source of the same version only. The hub's commit; else lengths
   * and ETags (or Last-Modified) of the files as the answers gave them that were read anyway, or their lengths and dates on this machine. A stored
   * model keeps the version that it was made from. A server that sends neither header: every opening is a version of its own.
   */
  readonly version: string;
  /** Its `sources` are the original files; of a stored model they hold headers only. */
  readonly checkpoint: OpenedCheckpoint;
  /** What `Fill.from.file` names: files of the store where `stored` is given, the original ones otherwise. */
  readonly sources: Sources;
  /** For the planner. */
  readonly stored: StoreIndex | undefined;
  /** 'local': files on this machine, not copied. 'none': the network, for every token that streams. */
  readonly home: 'opfs' | 'local' | 'none';
  /** undefined where everything was there. Its failure is told to whoever reads bytes that are missing. */
  readonly download: Download | undefined;
  /** Why not everything is kept, for the user; undefined if it is, or nobody wanted it. */
  readonly why: string | undefined;
  /** Resolves when all is kept that the disk takes; what it has no room for comes from the network. @throws any other failure of the download. */
  kept(): Promise<void>;
  disk(): Promise<DiskUse>;
  /** Ends a download, closes every file. */
  close(): Promise<void>;
};

/** A model reference, or files that are open already; those stay the caller's. */
export type ModelSourceRef = RemoteRef | readonly File[] | FileList | FileSystemDirectoryHandle | ModelFiles;

const noStoreHere =
  'Nothing can be kept here: the browser offers this page no private file system (a private window, or an address without https). ' +
  'Weights come from the network each time.';

/**
 * @param layouts of the store's files; tests add old ones.
 * @throws EngineError 'not-found', 'storage', 'format', 'unsupported', 'limit', 'invalid-request'; AbortError. Nothing stays open then.
 */
export async function openModelSource(
  ref: ModelSourceRef,
  options: ModelSourceOptions = {},
  layouts: StoreLayouts = storeLayouts,
): Promise<ModelSource> {
  throwIfAborted(options.signal);
  if (isModelFiles(ref)) return openPlain(ref, options, { home: 'local', ownsFiles: false });
  if (!isRemote(ref)) return openPlain(await openModel(ref, options), options, { home: 'local', ownsFiles: true });
  const key = modelKey(ref, options.hubUrl);
  const wanted = options.storage !== 'none';
  const store = wanted ? (options.store ?? (await openModelStore())) : undefined;
  if (!store) {
    const why = wanted ? noStoreHere : undefined;
    return openPlain(await openModel(ref, options), options, { home: 'none', why, ownsFiles: true });
  }
  if (options.store) return openStoredModel({ ref, key, store, options, layouts });
  try {
    return await openStoredModel({ ref, key, store, options, layouts, onClosed: () => store.close() });
  } catch (error) {
    await store.close();
    throw error;
  }
}

function isRemote(ref: ModelSourceRef): ref is RemoteRef {
  return typeof ref === 'string' || ref instanceof URL;
}

function isModelFiles(ref: ModelSourceRef): ref is ModelFiles {
  return typeof ref === 'object' && 'open' in ref && typeof ref.open === 'function';
}
