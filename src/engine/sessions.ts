/**
 * `engine.sessions`: a conversation's whole state as a record and bytes, and back. The bytes are good for the engine that made them, down to
 * kernels, adapter and the version of the weights; any other reads the tokens of the record again, as far as its tokenizer makes the same ones.
 */
import { EngineError } from '../errors';
import type { RestoredSession, SavedSession } from '../protocol/engine';
import type { SessionStore } from '../storage/sessions/session_store';
import type { EngineCore } from './engine_core';
import type { Snapshot, SnapshotKind } from './prefix_cache';

type Bytes = Uint8Array<ArrayBuffer>;

/** What must be the same for state to continue bit for bit. */
type Origin = {
  format: number;
  /** See ModelSource.version. */
  version: string;
  adapter: string;
  kv: string;
  chunkTokens: number;
  precision: string;
  variants: Record<string, string>;
  /** Of the source of every kernel in use. */
  kernels: string;
};
type Moment = { kind: SnapshotKind; length: number; hasLogits: boolean };
export type SessionFacts = { model: string; origin: Origin; ids: number[]; moments: Moment[] };

/** Of what the bytes mean. */
const format = 1;

/** @throws EngineError 'invalid-request' where nothing has been read, 'storage', 'device-lost'. */
export async function saveSession(core: EngineCore, store: SessionStore<SessionFacts>, id: string): Promise<SavedSession> {
  const saved = await core.cache.copyAll();
  if (!saved) throw new EngineError('invalid-request', 'There is no conversation to save: this engine has read nothing yet.');
  const { ids, snapshots, rows } = saved;
  const moments = snapshots.map(({ kind, ids: { length }, logits }) => ({ kind, length, hasLogits: logits !== undefined }));
  const facts: SessionFacts = { model: core.info().model, origin: originOf(core), ids, moments };
  const state = [...rows, ...snapshots.flatMap(({ state, logits }) => [...state.copy, ...(logits ? [bytesOf(logits)] : [])])];
  return store.save(id, facts, state, Date.now());
}

/** @throws EngineError 'not-found', 'invalid-request' for another model's session, 'context-length', 'storage', 'device-lost'. */
export async function restoreSession(core: EngineCore, store: SessionStore<SessionFacts>, id: string): Promise<RestoredSession> {
  const { facts, state, ...info } = await store.read(id);
  const { model, contextTokens } = core.info();
  if (facts.model !== model)
    throw new EngineError(
      'invalid-request',
      `The session '${id}' belongs to ${facts.model}; this engine runs ${model}. Load that one.`,
    );
  const tokens = facts.ids.length;
  if (tokens > contextTokens)
    throw new EngineError(
      'context-length',
      `The session '${id}' has ${tokens} tokens; the context holds ${contextTokens}. Load the model with a larger contextTokens.`,
    );
  const same = JSON.stringify(facts.origin) === JSON.stringify(originOf(core));
  const snapshots = state && same ? snapshotsOf(core, facts, state) : undefined;
  if (snapshots) core.cache.adopt(facts.ids, snapshots.rows, snapshots.moments);
  else core.cache.expect(facts.ids);
  return { ...info, tokens, from: snapshots ? 'state' : 'tokens' };
}

function originOf(core: EngineCore): Origin {
  const { adapter, variants, kv, chunkTokens, precision } = core.info();
  return {
    format,
    version: core.modelVersion,
    adapter: [adapter.vendor, adapter.architecture, adapter.description].join(' '),
    ...{ kv, chunkTokens, precision, variants },
    kernels: core.session.recordings.kernelDigest,
  };
}

/** Undefined where the bytes are not as many as this model has. */
function snapshotsOf(
  { session: { sequence, config } }: EngineCore,
  { ids, moments }: SessionFacts,
  state: readonly Bytes[],
): { rows: Bytes[]; moments: Snapshot[] } | undefined {
  const parts = [...state];
  const take = (sizes: readonly number[]): Bytes[] | undefined => {
    const taken = parts.splice(0, sizes.length);
    return taken.length === sizes.length && taken.every(({ byteLength }, i) => byteLength === sizes[i]) ? taken : undefined;
  };
  const rows = take(sequence.keysAndValues(ids.length).map(({ bytes }) => bytes));
  if (!rows) return undefined;
  const found: Snapshot[] = [];
  for (const { kind, length, hasLogits } of moments) {
    const copy = take(sequence.state(0).map(({ bytes }) => bytes));
    const logits = hasLogits ? take([config.vocabSize * 4])?.[0] : undefined;
    if (!copy || (hasLogits && !logits)) return undefined;
    const row = logits && new Float32Array(logits.slice().buffer);
    found.push({ kind, ids: Uint32Array.from(ids.slice(0, length)), state: { copy }, rows: undefined, logits: row, used: 0 });
  }
  return { rows, moments: found };
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array<ArrayBuffer>): Bytes =>
  new Uint8Array(buffer, byteOffset, byteLength);
