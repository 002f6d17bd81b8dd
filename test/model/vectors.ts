/**
 * A checkpoint's logits against the reference implementation's, as the same code for Node and for a browser page: only how
 * the files are opened differs.
 */

import { ModelSession, type SessionOptions } from '../../src/engine/model_session';
import type { LogitsTile } from '../../src/engine/step_part';
import { parseSafetensorsHeader, readHeaderLength } from '../../src/format/safetensors';
import type { Gpu } from '../../src/gpu/device';
import type { ByteSource, ModelFiles } from '../../src/storage/byte_source';
import { openCheckpoint } from '../../src/stream/open_checkpoint';

/** `rows`: which rows of the prompt `logits` holds; undefined for all. */
export type Expected = {
  inputIds: Uint32Array<ArrayBuffer>;
  rows: Int32Array | undefined;
  logits: Float32Array;
  greedyIds: Uint32Array<ArrayBuffer>;
  greedyLogits: Float32Array;
};

/** Relative errors |ours - ref| / |ref|: over all rows together, and of the worst row. */
export type Errors = { all: number; worstRow: number };
/** `waits`: times that a decoded token waited to hear which experts it needs; 0 without experts, or with all of them there. */
export type Score = { prefill: Errors; decode: Errors; prefillLogits: Float32Array; waits: number };

export async function readTensors(source: ByteSource): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
  const bytes = new Uint8Array(source.size);
  await source.read(0, bytes);
  const length = readHeaderLength(bytes.subarray(0, 8), source.size);
  const infos = parseSafetensorsHeader(bytes.subarray(8, 8 + length), source.label, source.size);
  return new Map(infos.map((info) => [info.name, bytes.slice(info.byteOffset, info.byteOffset + info.byteLength)]));
}

export async function readExpected(files: ModelFiles, name = 'expected.safetensors'): Promise<Expected> {
  const source = await files.open(name);
  const tensors = await readTensors(source);
  source.close();
  const get = (name: string) => tensors.get(name)!.buffer;
  return {
    inputIds: new Uint32Array(get('input_ids')),
    rows: tensors.has('rows') ? new Int32Array(get('rows')) : undefined,
    logits: new Float32Array(get('logits')),
    greedyIds: new Uint32Array(get('greedy_ids')),
    greedyLogits: new Float32Array(get('greedy_logits')),
  };
}

type Options = Omit<SessionOptions, 'contextTokens'>;

/** Prefill of the prompt, then its continuation one token at a time, teacher-forced. */
export async function scoreVectors(gpu: Gpu, files: ModelFiles, options: Options, expectedFile?: string): Promise<Score> {
  const expected = await readExpected(files, expectedFile);
  const checkpoint = await openCheckpoint(files);
  const { inputIds, greedyIds } = expected;
  let session: ModelSession | undefined;
  try {
    session = await ModelSession.load(gpu, checkpoint, { ...options, contextTokens: inputIds.length + greedyIds.length });
    const prefill = await logitsOf(session, [inputIds]);
    const decode = await logitsOf(
      session,
      Array.from(greedyIds, (id) => Uint32Array.of(id)),
    );
    const vocab = session.config.vocabSize;
    return {
      prefill: compare(pick(prefill, expected.rows, vocab), expected.logits, vocab),
      decode: compare(decode, expected.greedyLogits, vocab),
      prefillLogits: prefill,
      waits: session.experts?.counts.decode.syncs ?? 0,
    };
  } finally {
    session?.destroy();
    for (const source of checkpoint.sources.values()) source.close();
  }
}

async function logitsOf(
  { sequence, runner, config }: ModelSession,
  steps: readonly Uint32Array<ArrayBuffer>[],
): Promise<Float32Array> {
  const vocab = config.vocabSize;
  const rows = new Float32Array(steps.reduce((sum, tokens) => sum + tokens.length, 0) * vocab);
  let done = 0;
  for (const tokens of steps) {
    const start = done;
    const onLogits = ({ values, firstToken, rows: count, firstWord, words }: LogitsTile) => {
      for (let row = 0; row < count; row++) {
        rows.set(values.subarray(row * words, (row + 1) * words), (start + firstToken + row) * vocab + firstWord);
      }
    };
    await runner.step([{ sequence, tokens, logits: 'all', onLogits }]);
    done += tokens.length;
  }
  return rows;
}

function pick(logits: Float32Array, rows: Int32Array | undefined, vocab: number): Float32Array {
  if (!rows) return logits;
  const picked = new Float32Array(rows.length * vocab);
  for (const [i, row] of rows.entries()) picked.set(logits.subarray(row * vocab, (row + 1) * vocab), i * vocab);
  return picked;
}

export function compare(ours: Float32Array, reference: Float32Array, rowLength: number): Errors {
  if (ours.length !== reference.length) throw new Error(`${ours.length} logits where the reference has ${reference.length}`);
  let worstRow = 0;
  for (let row = 0; row < ours.length; row += rowLength) {
    worstRow = Math.max(worstRow, relativeError(ours.subarray(row, row + rowLength), reference.subarray(row, row + rowLength)));
  }
  return { all: relativeError(ours, reference), worstRow };
}

export function relativeError(ours: Float32Array, reference: Float32Array): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < reference.length; i++) {
    difference += (ours[i]! - reference[i]!) ** 2;
    norm += reference[i]! ** 2;
  }
  return Math.sqrt(difference / norm); // NaN in, NaN out: no comparison passes then
}
