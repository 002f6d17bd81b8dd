/**
 * Writes a synthetic checkpoint as fast as the disk takes it. Shards are written side by side, each in order and in large pieces that
 * point into the blocks of values, so nothing is copied here. Everything goes to `<out>.part`, which becomes `<out>` when it is whole.
 */
import { type FileHandle, mkdir, open, readdir, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { performance } from 'node:perf_hooks';
import { EngineError, throwIfAborted } from '../../errors';
import { layOutSynthetic, type Shard, type SyntheticLayout, type SyntheticModel, syntheticShapes } from '../../synth/layout';
import { madeTokenizer } from '../../synth/texts';
import type { SyntheticValues } from '../../synth/values';
import { copiedTokenizer } from './tokenizer';

/** Shards under way at once, and the size of one write. Node's own pool has four threads. */
const writers = 4;
const pieceBytes = 16 << 20;
/** What one system call takes. */
const maxViews = 1000;
/** Left on the disk for file system tables and for others. */
const spareBytes = 64 << 20;

export type SyntheticTarget = {
  /** The model's folder; its parent is made where needed. */
  out: string;
  /** Replace a checkpoint that is there. Never a folder that holds anything else. */
  force?: boolean;
  /** A folder whose tokenizer files are copied. Default: a tokenizer is made. */
  tokenizer?: string;
  signal?: AbortSignal;
  onStart?: (layout: SyntheticLayout) => void;
};

export type SyntheticReport = {
  bytes: number;
  parameters: number;
  layers: number;
  shards: number;
  /** From the first byte until all are on the disk. */
  seconds: number;
  gbPerSecond: number;
};

/**
 * @throws EngineError 'invalid-request' if the folder is in use, 'storage' if the disk is too small or fails, those of
 *   layOutSynthetic; AbortError. Nothing is left behind then.
 */
export async function writeSynthetic(options: SyntheticModel & SyntheticTarget): Promise<SyntheticReport> {
  const { vocabSize } = syntheticShapes(options);
  const texts = options.tokenizer === undefined ? madeTokenizer(vocabSize) : await copiedTokenizer(options.tokenizer, vocabSize);
  const layout = layOutSynthetic(options, texts);
  const out = resolve(options.out);
  const partial = `${out}.part`;
  await mkdir(dirname(out), { recursive: true });
  const replaced = (await checkpointBytes(out, options.force === true)) + (await checkpointBytes(partial, true));
  await checkSpace(dirname(out), layout.bytes, replaced);
  for (const folder of [out, partial]) await rm(folder, { recursive: true, force: true }); // `partial`: of a run that was killed
  options.onStart?.(layout);
  const started = performance.now();
  try {
    await mkdir(partial);
    await writeShards(partial, layout, options.signal);
    for (const [name, text] of layout.texts) await writeFile(join(partial, name), text);
    await rename(partial, out);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    throw storageError(error, options.out);
  }
  const seconds = (performance.now() - started) / 1000;
  return {
    bytes: layout.bytes,
    parameters: layout.parameters,
    layers: layout.shapes.layerTypes.length,
    shards: layout.shards.length,
    seconds,
    gbPerSecond: layout.bytes / seconds / 1e9,
  };
}

const checkpointFile = /^(model(-\d{5}-of-\d{5})?\.safetensors|.*\.(json|jinja))$/;

/**
 * Bytes of the checkpoint in `folder`, 0 if there is none.
 * @throws EngineError 'invalid-request' if the folder holds anything else, or a checkpoint that is not to be replaced.
 */
async function checkpointBytes(folder: string, replace: boolean): Promise<number> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw new EngineError('invalid-request', `${folder} is not a folder (${error.code}). Choose another --out.`);
  });
  const foreign = names.find((name) => !checkpointFile.test(name));
  if (foreign !== undefined)
    throw new EngineError('invalid-request', `${folder} holds ${foreign}, which is no part of a model. Choose another --out.`);
  if (names.length > 0 && !replace)
    throw new EngineError('invalid-request', `${folder} is not empty. Add --force to replace the model in it.`);
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(folder, name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** @throws EngineError 'storage' */
async function checkSpace(folder: string, bytes: number, replaced: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize + replaced;
  if (free >= bytes + spareBytes) return;
  const gb = (count: number) => (count / 1e9).toFixed(2);
  throw new EngineError(
    'storage',
    `The model needs ${gb(bytes)} GB and ${gb(free)} GB are free at ${folder}. Make room, or choose --layers or another --out.`,
  );
}

async function writeShards(folder: string, { shards, values }: SyntheticLayout, signal?: AbortSignal): Promise<void> {
  const queue = [...shards];
  const stop = new AbortController(); // one failure ends the others
  const joined = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
  const writer = async () => {
    for (let shard = queue.shift(); shard; shard = queue.shift()) await writeShard(folder, shard, values, joined);
  };
  const done = Array.from({ length: Math.min(writers, shards.length) }, writer);
  try {
    await Promise.all(done);
  } catch (error) {
    stop.abort();
    await Promise.allSettled(done);
    throw error;
  }
}

async function writeShard(folder: string, shard: Shard, values: SyntheticValues, signal: AbortSignal): Promise<void> {
  const file = await open(join(folder, shard.file), 'wx');
  try {
    let at = 0;
    for (const views of piecesOf(shard, values)) {
      throwIfAborted(signal);
      at += await writeAll(file, views, at);
    }
    await file.datasync();
  } finally {
    await file.close();
  }
}

/** The file's bytes as lists of views of about `pieceBytes`. */
function* piecesOf(shard: Shard, values: SyntheticValues): Generator<Uint8Array[], void, undefined> {
  let views: Uint8Array[] = [];
  let bytes = 0;
  for (const view of viewsOf(shard, values)) {
    for (let at = 0; at < view.byteLength; ) {
      const piece = view.subarray(at, at + pieceBytes - bytes);
      views.push(piece);
      bytes += piece.byteLength;
      at += piece.byteLength;
      if (bytes < pieceBytes && views.length < maxViews) continue;
      yield views;
      views = [];
      bytes = 0;
    }
  }
  if (views.length > 0) yield views;
}

function* viewsOf({ head, tensors }: Shard, values: SyntheticValues): Generator<Uint8Array, void, undefined> {
  yield head;
  for (const tensor of tensors) yield* values.pieces(tensor);
}

/** A disk that fills up writes short before it says so. */
async function writeAll(file: FileHandle, views: Uint8Array[], position: number): Promise<number> {
  let written = 0;
  let left = views;
  while (left.length > 0) {
    let { bytesWritten } = await file.writev(left, position + written);
    if (bytesWritten === 0) throw new EngineError('storage', 'The disk takes no more bytes. Make room and run it again.');
    written += bytesWritten;
    while (left.length > 0 && bytesWritten >= left[0]!.byteLength) bytesWritten -= left.shift()!.byteLength;
    if (bytesWritten > 0) left[0] = left[0]!.subarray(bytesWritten);
    left = [...left];
  }
  return written;
}

function storageError(error: unknown, out: string): unknown {
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  if (error instanceof EngineError || code === undefined) return error;
  const advice = code === 'ENOSPC' ? 'The disk is full: make room' : 'Choose another --out';
  return new EngineError('storage', `${out} could not be written (${code}). ${advice} and run it again.`, { cause: error });
}
