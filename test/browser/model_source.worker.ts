/** A model from the hub, in the worker that an engine would open it in. */
import { expose } from 'comlink';
import { storeLayout } from '../../src/plan/store_layout';
import { type ModelSource, openModelSource } from '../../src/stream/model_source';
import { readStored } from '../stream/stored_bytes';

export type Opened = { home: string; why: string | undefined; downloads: boolean; storedBytes: number; neededBytes: number };

let source: ModelSource | undefined;

const api = {
  async open(ref: string, hubUrl: string): Promise<Opened> {
    source = await openModelSource(ref, { hubUrl });
    return api.look();
  },

  async look(): Promise<Opened> {
    const { home, why, download } = source!;
    const { storedBytes, neededBytes } = await source!.disk();
    return { home, why, downloads: download !== undefined, storedBytes, neededBytes };
  },

  /** sha256 of what the files of the store hold; waits for bytes that are still to come. */
  async digests(): Promise<Record<string, string>> {
    const found: Record<string, string> = {};
    for (const file of storeLayout(source!.checkpoint.tensors).files) {
      const digest = await crypto.subtle.digest('SHA-256', await readStored(source!.sources, file));
      found[file.name] = Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
    }
    return found;
  },

  /** undefined: whole. */
  async finish(): Promise<string | undefined> {
    return source!.download?.done.then(
      () => undefined,
      (error: unknown) => String(error),
    );
  },

  close: () => source!.close(),
};

export type ModelSourceApi = typeof api;

expose(api);
