/** A model in the store: found there, gone on with, rewritten for today's layout, or made. */
import { EngineError, throwIfAborted } from '../errors';
import type { CheckpointTensors } from '../format/types';
import type { StoreIndex } from '../plan/blocks';
import { type StoreFile, storeLayout, storeLayoutVersion } from '../plan/store_layout';
import type { ModelFiles } from '../storage/byte_source';
import { openModel } from '../storage/model_ref';
import {
  headerText,
  type ModelStore,
  type StoredModelInfo,
  type StoreEntry,
  type StoreManifest,
  type StoreOrigin,
} from '../storage/store/types';
import { KeptModel, networkInstead, Originals, StoreFailed } from './kept_model';
import { atCommit, type RemoteRef } from './model_key';
import type { ModelSource, ModelSourceOptions } from './model_source';
import { type OpenedCheckpoint, openCheckpoint } from './open_checkpoint';
import { openPlain, plainSource } from './plain_source';
import { storeChunks } from './store_chunks';
import { openOriginal, storedFiles } from './stored_files';

type Layout = { files: StoreFile[]; index: StoreIndex };

/** Every layout that a stored model may still have: an old one is needed to rewrite it. */
export type StoreLayouts = { current: number; byVersion: Readonly<Record<number, (tensors: CheckpointTensors) => Layout>> };

export const storeLayouts: StoreLayouts = { current: storeLayoutVersion, byVersion: { [storeLayoutVersion]: storeLayout } };

export type Opening = {
  ref: RemoteRef;
  key: string;
  store: ModelStore;
  options: ModelSourceOptions;
  layouts: StoreLayouts;
  /** Called last when the model is closed. */
  onClosed?: (() => Promise<void>) | undefined;
};

/**
 * Without a store that works: the model as it lies on the network, and why.
 * @throws as `openModelSource` does; nothing stays open then, save the store.
 */
export async function openStoredModel(opening: Opening): Promise<ModelSource> {
  try {
    return await openKept(opening);
  } catch (error) {
    if (!(error instanceof StoreFailed)) throw error;
    const { ref, options, onClosed } = opening;
    const why = networkInstead(error.why);
    return openPlain(await openModel(ref, options), options, { home: 'none', why, ownsFiles: true, onClosed });
  }
}

/** A failure of the store itself is a StoreFailed. */
async function ask<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw error instanceof EngineError ? new StoreFailed(error.message) : error;
  }
}

/**
 * A branch that moved becomes an entry of its own, `key#commit`, and the older ones go once it is complete: until then they answer.
 */
async function openKept(opening: Opening): Promise<ModelSource> {
  const { ref, key, store, options } = opening;
  const { signal, update = false } = options;
  const known = (await ask(store.list())).filter((info) => info.key === key || info.key.startsWith(`${key}#`));
  known.sort((a, b) => b.createdAt - a.createdAt);
  throwIfAborted(signal);
  const files = update ? await openModel(ref, options) : undefined;
  const commit = files?.revision;
  const wanted = update ? known.find(({ revision }) => commit !== undefined && revision === commit) : newestWhole(known);
  const others = known.filter(({ id, createdAt }) => id !== wanted?.id && (!wanted || update || createdAt < wanted.createdAt));
  const old = others.map(({ id }) => id);
  const entry = wanted && (await ask(store.find(wanted.key, signal)));
  const found = entry && (await openEntry(opening, entry, old));
  if (found) return found;
  const next = wanted?.key ?? (commit !== undefined && known.length > 0 ? `${key}#${commit}` : key);
  const fresh = !known.some((info) => info.key === next);
  return createEntry(opening, { key: next, files: files ?? (await openModel(ref, options)), outdated: old, fresh });
}

function newestWhole(known: readonly StoredModelInfo[]): StoredModelInfo | undefined {
  return known.find(({ complete }) => complete) ?? known[0];
}

/** undefined where its layout is one that nobody knows, or is only half there in an old one: it must be made anew. */
async function openEntry(opening: Opening, found: StoreEntry, outdated: string[]): Promise<ModelSource | undefined> {
  const { options, layouts, ref, store, onClosed } = opening;
  const { signal, text, peek } = options;
  const { revision, layoutVersion } = found.manifest;
  const remote = once(() => openModel(atCommit(ref, revision), { ...options, signal: undefined }));
  let entry = found;
  try {
    throwIfAborted(signal);
    const checkpoint = await openCheckpoint(storedFiles(entry, remote), signal, { text });
    let layout = layouts.byVersion[layoutVersion]?.(checkpoint.tensors);
    const ours = layoutVersion === layouts.current;
    if (!layout || !sameFiles(layout.files, entry.manifest.files) || !(ours || entry.complete)) {
      await entry.close();
      return undefined;
    }
    if (!ours && !peek) {
      entry = await migrate(opening, entry, layout.files, checkpoint.tensors);
      layout = layouts.byVersion[layouts.current]!(checkpoint.tensors);
    }
    const { manifest } = entry;
    const originals = new Originals(async (file, all) => openOriginal(await remote(), file, manifest, all));
    throwIfAborted(signal);
    return await KeptModel.open({ store, entry, checkpoint, layout, originals, outdated, fresh: false, options, onClosed });
  } catch (error) {
    await entry.close();
    throw error;
  }
}

/** A failure is not remembered. */
function once<T>(work: () => Promise<T>): () => Promise<T> {
  let result: Promise<T> | undefined;
  return () => {
    result ??= work().catch((error: unknown) => {
      result = undefined;
      throw error;
    });
    return result;
  };
}

function sameFiles(layout: readonly StoreFile[], stored: StoreManifest['files']): boolean {
  return (
    layout.length === stored.length &&
    layout.every(({ name, byteLength }, i) => stored[i]!.name === name && stored[i]!.byteLength === byteLength)
  );
}

async function migrate(
  { store, layouts, options }: Opening,
  entry: StoreEntry,
  old: readonly StoreFile[],
  tensors: CheckpointTensors,
): Promise<StoreEntry> {
  const { texts: names, ...facts } = entry.manifest;
  const texts: StoreManifest['texts'] = {};
  for (const name of names) texts[name] = await entry.readText(name);
  const { files } = layouts.byVersion[layouts.current]!(tensors);
  const manifest = { ...facts, texts, layoutVersion: layouts.current, files: fileSizes(files) };
  return store.migrate(entry, storeChunks(old), manifest, storeChunks(files), {
    signal: options.signal,
    onProgress: options.onDownload,
  });
}

const fileSizes = (files: readonly StoreFile[]) => files.map(({ name, byteLength }) => ({ name, byteLength }));

type NewEntry = { key: string; files: ModelFiles; outdated: string[]; fresh: boolean };

async function createEntry(opening: Opening, { key, files, outdated, fresh }: NewEntry): Promise<ModelSource> {
  const { options, layouts, store, onClosed } = opening;
  const { signal, text, peek } = options;
  const texts: StoreManifest['texts'] = {};
  const keep = (name: string, bytes: Uint8Array) => {
    texts[name] = bytes;
  };
  const checkpoint = await openCheckpoint(files, signal, { text, keep });
  const originals = new Originals(checkpoint.sources);
  let entry: StoreEntry | undefined;
  try {
    if (peek) return plainSource(files, checkpoint, { home: 'opfs', ownsFiles: true, onClosed });
    const layout = layouts.byVersion[layouts.current]!(checkpoint.tensors);
    const origins = await originsOf(files, checkpoint, texts, signal);
    const { label, revision } = files;
    const { version } = checkpoint;
    const facts = { key, label, revision, version, layoutVersion: layouts.current };
    entry = await ask(store.create({ ...facts, texts, files: fileSizes(layout.files), origins }));
    throwIfAborted(signal);
    return await KeptModel.open({ store, entry, checkpoint, layout, originals, outdated, fresh, options, onClosed });
  } catch (error) {
    await entry?.close();
    if (error instanceof StoreFailed) {
      if (entry) await store.delete(entry.id).catch(() => {}); // unless another tab fills it
      return plainSource(files, checkpoint, { home: 'none', why: networkInstead(error.why), ownsFiles: true, onClosed });
    }
    originals.close();
    throw error;
  }
}

/** @throws EngineError 'storage' where the hub's listing and the server that delivers disagree. */
async function originsOf(
  files: ModelFiles,
  { sources }: OpenedCheckpoint,
  texts: StoreManifest['texts'],
  signal: AbortSignal | undefined,
): Promise<StoreOrigin[]> {
  const origins: StoreOrigin[] = [];
  for (const [file, { size, etag, label }] of sources) {
    const { sha256, byteLength = size } = (await files.expected?.(file, signal)) ?? {};
    if (byteLength !== size) {
      throw new EngineError('storage', `${label} has ${size} bytes, and the hub lists ${byteLength}. Try again later.`);
    }
    const headerBytes = texts[headerText(file)]!.byteLength;
    // At a commit a file cannot change, while two hosts may give the same file two ETags.
    const mark = files.revision === undefined && etag !== undefined ? { etag } : {};
    origins.push({ file, byteLength: size, headerBytes, ...mark, ...(sha256 === undefined ? {} : { sha256 }) });
  }
  return origins;
}
