/**
 * From the files of a model to a checkpoint that can be loaded: config, tensors by field, and the text files. Only headers are
 * read. Everything here comes from a stranger: sizes are checked before a byte is allocated.
 */
import { EngineError, throwIfAborted } from '../errors';
import { describeCheckpoint, isSkippedTensor } from '../format/checkpoint';
import { parseConfig } from '../format/config';
import { type GenerationDefaults, parseGenerationConfig } from '../format/generation';
import { parseSafetensorsHeader, readHeaderLength } from '../format/safetensors';
import { parseShardIndex } from '../format/shard_index';
import type { CheckpointTensors, ModelConfig, TensorDirectory, TensorInfo } from '../format/types';
import type { ByteSource, ModelFiles } from '../storage/byte_source';
import { isForbidden } from '../storage/http_error';
import { headerText } from '../storage/store/types';
import { Contents } from './contents';

const CONFIG_FILE = 'config.json';
const SINGLE_FILE = 'model.safetensors';
const INDEX_FILE = 'model.safetensors.index.json';
/** Shard headers read at a time: each holds up to a header of memory, and servers answer 4 requests as fast as 16. */
const CONCURRENT_SHARDS = 4;
const FIRST_PIECE_BYTES = 1 << 20;
/** Of a safetensors file: how long its header is. */
const LENGTH_BYTES = 8;

/** Largest size of each text file, bytes. The largest published ones are about a tenth of these. */
const MAX_BYTES = {
  [CONFIG_FILE]: 4 << 20,
  'generation_config.json': 1 << 20,
  'tokenizer.json': 64 << 20,
  'tokenizer_config.json': 8 << 20,
  'chat_template.jinja': 1 << 20,
  [INDEX_FILE]: 64 << 20,
};
type TextFile = keyof typeof MAX_BYTES;

export type OpenedCheckpoint = {
  /** See ModelSource.version. */
  version: string;
  config: ModelConfig;
  generation: GenerationDefaults;
  /** Every tensor of the files that were opened, skipped ones (vision, mtp) included. */
  directory: TensorDirectory;
  tensors: CheckpointTensors;
  /** One per weight file, by the name that TensorInfo.file carries. The caller closes them. */
  sources: Map<string, ByteSource>;
  /** undefined where the folder has none: scoring token ids needs no tokenizer. */
  tokenizerJson: string | undefined;
  tokenizerConfig: string | undefined;
  chatTemplate: string | undefined;
};

export type OpenCheckpointOptions = {
  /** false: tokenizer and template stay undefined. */
  text?: boolean;
  /**
   * Given every text file as it is (tokenizer and template too, whatever `text` says), and each weight file's first bytes up to its
   * data, as `headerText` names them.
   */
  keep?: (name: string, bytes: Uint8Array) => void;
};

/**
 * @throws EngineError 'not-found' without config.json or weights, 'format' or 'unsupported' for what they hold, 'storage' if reading
 *   fails; AbortError when cancelled. Nothing stays open then; `files` itself is the caller's.
 */
export async function openCheckpoint(
  files: ModelFiles,
  signal?: AbortSignal,
  { text = true, keep }: OpenCheckpointOptions = {},
): Promise<OpenedCheckpoint> {
  const contents = new Contents();
  const reading: Reading = { files, signal, keep, contents };
  const configText = await readText(reading, CONFIG_FILE);
  if (configText === undefined)
    throw new EngineError('not-found', `${files.label} has no config.json. Is it the folder of a model?`);
  const generationText = await readText(reading, 'generation_config.json');
  const config = parseConfig(configText, generationText); // before anything larger is fetched
  const sources = new Map<string, ByteSource>();
  try {
    const directory = await readDirectory(reading, sources);
    const tensors = describeCheckpoint(config, directory);
    return {
      version: files.version ?? files.revision ?? contents.version,
      config,
      generation: generationText === undefined ? { eosTokenIds: [] } : parseGenerationConfig(generationText),
      directory,
      tensors,
      sources,
      ...(await readTokenizer(reading, text)),
    };
  } catch (error) {
    for (const source of sources.values()) source.close();
    throw error;
  }
}

type Reading = {
  files: ModelFiles;
  signal: AbortSignal | undefined;
  keep: OpenCheckpointOptions['keep'];
  contents: Contents;
};
type TokenizerTexts = Pick<OpenedCheckpoint, 'tokenizerJson' | 'tokenizerConfig' | 'chatTemplate'>;

async function readTokenizer(reading: Reading, text: boolean): Promise<TokenizerTexts> {
  const names = ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja'] as const;
  if (!text) {
    if (reading.keep) for (const name of names) await readTextBytes(reading, name);
    return { tokenizerJson: undefined, tokenizerConfig: undefined, chatTemplate: undefined };
  }
  const [tokenizerJson, tokenizerConfig, template] = await Promise.all(names.map((name) => readText(reading, name)));
  return { tokenizerJson, tokenizerConfig, chatTemplate: template ?? templateOf(tokenizerConfig) };
}

async function readDirectory(reading: Reading, sources: Map<string, ByteSource>): Promise<TensorDirectory> {
  const { files, signal } = reading;
  const single = await openIfThere(files, SINGLE_FILE, signal);
  if (single) {
    sources.set(SINGLE_FILE, single);
    return new Map((await readHeader(single, SINGLE_FILE, reading)).map((tensor) => [tensor.name, tensor]));
  }
  const indexText = await readText(reading, INDEX_FILE);
  if (indexText === undefined)
    throw new EngineError('not-found', `${files.label} has neither ${SINGLE_FILE} nor ${INDEX_FILE}, or lets neither be read.`);
  const index = parseShardIndex(indexText);
  // A shard with nothing but vision or mtp tensors is never opened; some repositories do not even have it.
  const shards = new Set([...index].filter(([name]) => !isSkippedTensor(name)).map(([, file]) => file));
  const headers = await eachConcurrently([...shards], CONCURRENT_SHARDS, async (file) => {
    const source = await files.open(file, signal).catch((cause: unknown) => {
      if (!isNotFound(cause)) throw cause;
      throw new EngineError('not-found', `${INDEX_FILE} names ${file}, which ${files.label} does not have.`, { cause });
    });
    sources.set(file, source);
    return readHeader(source, file, reading);
  });
  return mergeShards(index, headers);
}

/** What the index says must be true; a tensor that it does not list is kept, as the reference loader does. */
function mergeShards(index: ReadonlyMap<string, string>, headers: readonly TensorInfo[][]): TensorDirectory {
  const directory = new Map<string, TensorInfo>();
  for (const tensor of headers.flat()) {
    const file = index.get(tensor.name);
    if (file !== undefined && file !== tensor.file) continue; // a second copy, which the index passes over
    const other = directory.get(tensor.name);
    if (other) {
      throw new EngineError(
        'format',
        `${tensor.name} is in ${other.file} and in ${tensor.file}, and ${INDEX_FILE} does not say which counts.`,
      );
    }
    directory.set(tensor.name, tensor);
  }
  for (const [name, file] of index) {
    if (!directory.has(name) && !isSkippedTensor(name)) {
      throw new EngineError('format', `${INDEX_FILE} says that ${name} is in ${file}, but it is not there.`);
    }
  }
  return directory;
}

async function readHeader(source: ByteSource, file: string, { signal, keep, contents }: Reading): Promise<TensorInfo[]> {
  contents.add(file, source);
  const first8 = new Uint8Array(Math.min(LENGTH_BYTES, source.size));
  await source.read(0, first8, signal);
  const length = named(file, () => readHeaderLength(first8, source.size));
  const head = await readAll(source, LENGTH_BYTES + length, signal);
  keep?.(headerText(file), head);
  return parseSafetensorsHeader(head.subarray(LENGTH_BYTES), file, source.size);
}

/** A server may claim any size, so memory grows with the bytes that came: at most four times as many are allocated ahead. */
async function readAll(source: ByteSource, length: number, signal?: AbortSignal): Promise<Uint8Array> {
  let bytes = new Uint8Array(Math.min(length, FIRST_PIECE_BYTES));
  await source.read(0, bytes, signal);
  while (bytes.byteLength < length) {
    const more = new Uint8Array(Math.min(length, bytes.byteLength * 4));
    more.set(bytes);
    await source.read(bytes.byteLength, more.subarray(bytes.byteLength), signal);
    bytes = more;
  }
  return bytes;
}

function named<T>(file: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof EngineError ? new EngineError(error.code, `${file}: ${error.message}`) : error;
  }
}

/** undefined if there is no such file. */
async function readText(reading: Reading, name: TextFile): Promise<string | undefined> {
  const bytes = await readTextBytes(reading, name);
  try {
    return bytes && new TextDecoder('utf-8', { fatal: true }).decode(bytes); // drops a byte order mark
  } catch (cause) {
    throw new EngineError('format', `${name} is not valid UTF-8.`, { cause });
  }
}

async function readTextBytes({ files, signal, keep, contents }: Reading, name: TextFile): Promise<Uint8Array | undefined> {
  const source = await openIfThere(files, name, signal);
  if (!source) return undefined;
  try {
    if (name === CONFIG_FILE) contents.add(name, source);
    checkTextSize(name, source.size, MAX_BYTES[name]);
    const bytes = await readAll(source, source.size, signal);
    keep?.(name, bytes);
    return bytes;
  } finally {
    source.close();
  }
}

function checkTextSize(name: string, bytes: number, max: number): void {
  if (bytes > max) throw new EngineError('limit', `${name} has ${bytes} bytes; at most ${max} are read.`);
}

async function openIfThere(files: ModelFiles, name: string, signal?: AbortSignal): Promise<ByteSource | undefined> {
  throwIfAborted(signal);
  try {
    return await files.open(name, signal);
  } catch (error) {
    if (isNotFound(error)) return undefined;
    // S3 and its like answer 403, not 404, to who may read files but not list them. A signature that expired, a token that lost its
    // right or a ban would refuse config.json too.
    if (isForbidden(error) && name !== CONFIG_FILE && (await canOpen(files, CONFIG_FILE, signal))) return undefined;
    throw error;
  }
}

async function canOpen(files: ModelFiles, name: string, signal?: AbortSignal): Promise<boolean> {
  try {
    (await files.open(name, signal)).close();
    return true;
  } catch (error) {
    if (error instanceof EngineError) return false;
    throw error;
  }
}

function isNotFound(error: unknown): boolean {
  return error instanceof EngineError && error.code === 'not-found';
}

/** `chat_template` of tokenizer_config.json: one template, or a list of named ones of which 'default' is meant. */
function templateOf(tokenizerConfig: string | undefined): string | undefined {
  if (tokenizerConfig === undefined) return undefined;
  const file = 'tokenizer_config.json';
  let json: unknown;
  try {
    json = JSON.parse(tokenizerConfig);
  } catch (cause) {
    throw new EngineError('format', `${file} is not valid JSON.`, { cause });
  }
  const entry = property(json, 'chat_template');
  const template = Array.isArray(entry)
    ? property(
        entry.find((item) => property(item, 'name') === 'default'),
        'template',
      )
    : entry;
  if (template === undefined || template === null) return undefined;
  if (typeof template !== 'string')
    throw new EngineError('format', `${file}: 'chat_template' must be a string or a list of named templates.`);
  checkTextSize(`${file}: chat_template`, new TextEncoder().encode(template).byteLength, MAX_BYTES['chat_template.jinja']);
  return template;
}

function property(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    ? (value as Record<string, unknown>)[key]
    : undefined;
}

/** Results in the order of `items`, at most `width` under way. The first failure stops further starts and is thrown once all are idle. */
async function eachConcurrently<T, R>(items: readonly T[], width: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results = new Array<R>(items.length);
  let next = 0;
  let failure: { error: unknown } | undefined;
  const lane = async () => {
    while (next < items.length && !failure) {
      const i = next++;
      try {
        results[i] = await work(items[i]!);
      } catch (error) {
        failure ??= { error };
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, lane));
  if (failure) throw (failure as { error: unknown }).error;
  return results;
}
