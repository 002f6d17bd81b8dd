/** `score`: the logits of given tokens, through prefill and through decode, into a safetensors file. */
import { writeSync } from 'node:fs';
import { type FileHandle, open, readFile, rename } from 'node:fs/promises';
import { LogitRow } from '../engine/logit_row';
import { ModelSession, variantsOf } from '../engine/model_session';
import { argmax } from '../engine/sampling';
import type { LogitsTile } from '../engine/step_part';
import { EngineError } from '../errors';
import { layOutSafetensors, type PlannedTensor } from '../format/safetensors_writer';
import { openCheckpoint } from '../stream/open_checkpoint';
import { disabledFeatures, oneOf, readOptions, required, wholeNumber } from './arguments';
import { openDirectory } from './file_source';
import { openNodeGpu, reportSoftware } from './open_gpu';
import { budgetOptions, streamingReport } from './streaming_report';

const usage =
  'score --model <dir> --tokens <file.json> --out <file.safetensors> [--decode-tokens <file.json>] [--greedy <n>] [--context <n>] [--chunk <n>] [--kv f32|f16] [--disable subgroups,f16] [--kernels direct|gpu] [--f16] [--precision exact|fast] [--gpu-budget <bytes|4GB>] [--slot <bytes>] [--measure]';

type Ids = Uint32Array<ArrayBuffer>;

export async function score(args: readonly string[]): Promise<void> {
  const o = readOptions(
    args,
    {
      model: 'text',
      tokens: 'text',
      out: 'text',
      'decode-tokens': 'text',
      greedy: 'text',
      context: 'text',
      chunk: 'text',
      kv: 'text',
      disable: 'text',
      kernels: 'text',
      f16: 'flag',
      precision: 'text',
      'gpu-budget': 'text',
      slot: 'text',
      measure: 'flag',
    },
    usage,
  );
  const model = required('model', o.model, usage);
  const prompt = await readTokens('tokens', required('tokens', o.tokens, usage));
  const out = required('out', o.out, usage);
  const decode = typeof o['decode-tokens'] === 'string' ? await readTokens('decode-tokens', o['decode-tokens']) : undefined;
  const greedy = wholeNumber('greedy', o.greedy, { least: 1, most: 1 << 20 });
  const least = prompt.length + Math.max(decode?.length ?? 0, (greedy ?? 1) - 1);
  const options = {
    contextTokens: wholeNumber('context', o.context, { least, most: 1 << 24 }) ?? least,
    chunkTokens: wholeNumber('chunk', o.chunk, { least: 1, most: 512 }) ?? 64,
    kv: oneOf('kv', o.kv, ['f32', 'f16']) ?? 'f32',
    f16: o.f16 === true,
    precision: oneOf('precision', o.precision, ['exact', 'fast']) ?? 'exact',
    ...budgetOptions(o['gpu-budget'], o.slot),
  } as const;
  const kernels = oneOf('kernels', o.kernels, ['direct', 'gpu']);
  const disable = disabledFeatures(o.disable);

  const files = await openDirectory(model);
  const checkpoint = await openCheckpoint(files, undefined, { text: false });
  checkVocabulary(checkpoint.config.vocabSize, [prompt, decode ?? new Uint32Array()]);
  const partial = `${out}.part`; // renamed when it is whole
  const file = await openOutput(partial);
  const gpu = await openNodeGpu({ disable, ...(kernels ? { direct: kernels === 'direct' } : {}) });
  const session = await ModelSession.load(gpu, checkpoint, options);
  reportSoftware(gpu);
  const times = await writeLogits(session, file, { prompt, decode, greedy });
  const streaming = await streamingReport(
    session,
    { tokens: decode?.length ?? 0, ms: times.decodeMs },
    {
      measure: o.measure === true,
      prompt,
    },
  );
  await rename(partial, out);
  const variants = variantsOf(session.kernelLabels);
  console.log(
    JSON.stringify({
      adapter: gpu.adapter,
      peakGpuBytes: gpu.memory.peakBytes,
      ...times,
      ...streaming,
      chunk: options.chunkTokens,
      contextTokens: options.contextTokens,
      kv: options.kv,
      precision: options.precision,
      variants,
    }),
  );
  session.destroy();
  for (const source of checkpoint.sources.values()) source.close();
  files.close();
}

async function readTokens(option: string, path: string): Promise<Ids> {
  const text = await readFile(path, 'utf8').catch((cause: Error) => {
    throw new EngineError('not-found', `--${option}: ${path} cannot be read (${cause.message.split(':')[0]}).`);
  });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new EngineError('format', `--${option}: ${path} is not valid JSON. It must be a list of token ids, e.g. [1, 2, 3].`);
  }
  if (!Array.isArray(json) || json.length === 0 || json.some((id) => !Number.isInteger(id) || id < 0 || id > 0xffffffff)) {
    throw new EngineError('format', `--${option}: ${path} must be a non-empty list of token ids, e.g. [1, 2, 3].`);
  }
  return Uint32Array.from(json as number[]);
}

function openOutput(path: string): Promise<FileHandle> {
  return open(path, 'w').catch((cause: Error) => {
    throw new EngineError('storage', `--out: ${path} cannot be written (${cause.message.split(':')[0]}).`);
  });
}

function checkVocabulary(vocabSize: number, lists: readonly Ids[]): void {
  for (const id of lists.flatMap((list) => [...list])) {
    if (id >= vocabSize) throw new EngineError('format', `Token id ${id} is outside this model's vocabulary of ${vocabSize}.`);
  }
}

type Wanted = { prompt: Ids; decode: Ids | undefined; greedy: number | undefined };

/** Rows go to the file as they come: a long prompt's logits would not fit in memory. */
async function writeLogits(
  session: ModelSession,
  file: FileHandle,
  { prompt, decode, greedy }: Wanted,
): Promise<{ prefillMs: number; decodeMs: number }> {
  const vocab = session.config.vocabSize;
  const tensors: PlannedTensor[] = [{ name: 'logits', dtype: 'F32', shape: [prompt.length, vocab] }];
  if (decode) tensors.push({ name: 'decode_logits', dtype: 'F32', shape: [decode.length, vocab] });
  if (greedy) tensors.push({ name: 'greedy_ids', dtype: 'I32', shape: [greedy] });
  const { head, byteOffset } = layOutSafetensors(tensors);
  try {
    await file.write(head, 0, head.byteLength, 0);
    const { sequence } = session;
    sequence.reset();
    const prefill = await scoreRows(session, [prompt], file, byteOffset.get('logits')!);
    const afterPrompt = greedy && decode ? await sequence.save() : undefined;
    const steps = decode ? Array.from(decode, (_, i) => decode.slice(i, i + 1)) : [];
    const decoded = await scoreRows(session, steps, file, byteOffset.get('decode_logits') ?? 0);
    if (greedy) {
      if (afterPrompt) sequence.restore(afterPrompt);
      const ids = await greedyIds(session, prefill.last, greedy);
      await file.write(new Uint8Array(ids.buffer), 0, ids.byteLength, byteOffset.get('greedy_ids')!);
    }
    return { prefillMs: prefill.ms, decodeMs: decoded.ms };
  } finally {
    await file.close();
  }
}

/** Every row of logits of `steps`, one step after another, to the file from `byteOffset` on; the last row is returned too. */
async function scoreRows(
  { sequence, runner, config }: ModelSession,
  steps: readonly Ids[],
  file: FileHandle,
  byteOffset: number,
): Promise<{ ms: number; last: Float32Array }> {
  const rowBytes = config.vocabSize * 4;
  const last = new Float32Array(config.vocabSize);
  let ms = 0;
  let at = byteOffset;
  for (const tokens of steps) {
    const started = performance.now();
    const start = at;
    const onLogits = ({ values, firstToken, rows, firstWord, words }: LogitsTile) => {
      for (let row = 0; row < rows; row++) {
        const part = values.subarray(row * words, (row + 1) * words);
        // Synchronous: a queue of rows that wait to be written would outgrow the memory that the budget bounds.
        writeSync(file.fd, part, 0, part.byteLength, start + (firstToken + row) * rowBytes + firstWord * 4);
        if (firstToken + row === tokens.length - 1) last.set(part, firstWord);
      }
    };
    await runner.step([{ sequence, tokens, logits: 'all', onLogits }]);
    ms += performance.now() - started;
    at += tokens.length * rowBytes;
  }
  return { ms, last };
}

async function greedyIds(
  { sequence, runner, config }: ModelSession,
  firstLogits: Float32Array,
  count: number,
): Promise<Int32Array<ArrayBuffer>> {
  const ids = new Int32Array(count);
  const row = new LogitRow(config.vocabSize);
  let logits = firstLogits;
  for (let i = 0; i < count; i++) {
    ids[i] = argmax(logits);
    if (i + 1 === count) break;
    await runner.step([{ sequence, tokens: Uint32Array.of(ids[i]!), logits: 'last', onLogits: row.add }]);
    logits = row.values;
  }
  return ids;
}
