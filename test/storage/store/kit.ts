/** Stores over a temporary folder, one per test, for Node. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect } from 'vitest';
import { EngineError } from '../../../src/errors';
import { openModelStore } from '../../../src/storage/store/store';
import type { ModelStore, StoreEntry } from '../../../src/storage/store/types';
import { NodeOrigin, type NodeTab, type TabOptions } from './node_host';
import { loggedSources, type SourceLog } from './sources';
import type { TestModel } from './test_model';

export let origin: NodeOrigin;
let stores: ModelStore[];

beforeEach(() => {
  origin = new NodeOrigin(mkdtempSync(join(tmpdir(), 'sluice-store-')));
  stores = [];
});
afterEach(async () => {
  for (const store of stores) await store.close().catch(() => {});
  rmSync(origin.folder, { recursive: true, force: true });
});

export async function openTab(options: TabOptions = {}): Promise<{ tab: NodeTab; store: ModelStore }> {
  const tab = origin.tab(options);
  const store = (await openModelStore(tab))!;
  stores.push(store);
  return { tab, store };
}

export async function expectStored(entry: StoreEntry, { expected }: TestModel): Promise<void> {
  for (const [name, bytes] of expected) {
    const source = await entry.open(name);
    expect(source.size).toBe(bytes.byteLength);
    const into = new Uint8Array(bytes.byteLength);
    await source.read(0, into);
    expect(Buffer.compare(into, bytes), name).toBe(0);
    source.close();
  }
}

/** Stores the model whole, and closes. */
export async function stored(model: TestModel): Promise<SourceLog> {
  const { store } = await openTab();
  const entry = await store.create(model.manifest);
  const log = loggedSources(model.originals);
  await entry.download(model.chunks, log.sources).done;
  await store.close();
  return log;
}

/** The folder of the one stored model's newest form. */
export function generationFolder(): string {
  const models = join(origin.folder, 'models');
  const model = join(models, readdirSync(models)[0]!);
  const newest = readdirSync(model)
    .filter((name) => /^g\d+$/.test(name))
    .sort()
    .at(-1)!;
  return join(model, newest);
}

export const weightFile = (name: string) => join(generationFolder(), 'weights', name);

export async function failureOf(promise: Promise<unknown>): Promise<EngineError> {
  const error = await promise.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(EngineError);
  return error as EngineError;
}
