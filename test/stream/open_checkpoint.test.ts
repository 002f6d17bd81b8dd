import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';
import { EngineError, isAbort } from '../../src/errors';
import { openDirectory } from '../../src/node/file_source';
import type { ByteSource, ModelFiles } from '../../src/storage/byte_source';
import { memorySource } from '../../src/storage/memory';
import { openModel } from '../../src/storage/model_ref';
import { openCheckpoint } from '../../src/stream/open_checkpoint';
import { type Entry, makeHeader } from '../format/headers';
import { HUB_COMMIT, HUB_MODEL, type HubServer, startHub } from '../servers/hub_server';

const folder = (name: string) => fileURLToPath(new URL(`../fixtures/vectors/${name}`, import.meta.url));
const read = (model: string, file: string) => new Uint8Array(readFileSync(`${folder(model)}/${file}`));
const bytesOf = (text: string) => new TextEncoder().encode(text);

/** Files in memory that count what is open. A number is a file of that size which must not be read. */
function memoryFiles(files: Record<string, Uint8Array | number>): ModelFiles & { opened: string[]; open_: Set<ByteSource> } {
  const opened: string[] = [];
  const open_ = new Set<ByteSource>();
  return {
    label: 'memory',
    revision: undefined,
    opened,
    open_,
    async open(name) {
      opened.push(name);
      const content = Object.hasOwn(files, name) ? files[name]! : undefined;
      if (content === undefined) throw new EngineError('not-found', `There is no file ${name}.`);
      const inner = memorySource(typeof content === 'number' ? new Uint8Array(0) : content, name);
      const source: ByteSource = {
        label: name,
        size: typeof content === 'number' ? content : content.byteLength,
        read(offset, into, signal) {
          if (typeof content === 'number') throw new Error(`${name} was read`);
          return inner.read(offset, into, signal);
        },
        close() {
          open_.delete(source);
        },
      };
      open_.add(source);
      return source;
    },
    close() {},
  };
}
const single = (more: Record<string, Uint8Array | number> = {}) =>
  memoryFiles({
    'config.json': read('dense-4bit', 'config.json'),
    'model.safetensors': read('dense-4bit', 'model.safetensors'),
    ...more,
  });

const shard = (n: number) => `model-0000${n}-of-00002.safetensors`;
const indexName = 'model.safetensors.index.json';
const index = JSON.parse(new TextDecoder().decode(read('dense-bf16', indexName))) as { weight_map: Record<string, string> };
const sharded = (weight_map: Record<string, string>, more: Record<string, Uint8Array | number> = {}) =>
  memoryFiles({
    'config.json': read('dense-bf16', 'config.json'),
    [indexName]: bytesOf(JSON.stringify({ weight_map })),
    [shard(1)]: read('dense-bf16', shard(1)),
    [shard(2)]: read('dense-bf16', shard(2)),
    ...more,
  });

/** A whole safetensors file of zeros. */
function weightFile(...args: Parameters<typeof makeHeader>): Uint8Array {
  const { header, fileBytes } = makeHeader(...args);
  const file = new Uint8Array(fileBytes);
  new DataView(file.buffer).setUint32(0, header.byteLength, true);
  file.set(header, 8);
  return file;
}

describe('the vectors, from a folder', () => {
  test.each([
    { name: 'dense-4bit', files: ['model.safetensors'], layers: 4 },
    { name: 'dense-3bit', files: ['model.safetensors'], layers: 4 },
    { name: 'dense-bf16', files: [shard(1), shard(2)], layers: 4 },
  ])('$name', async ({ name, files, layers }) => {
    const found = await openCheckpoint(await openDirectory(folder(name)));
    expect([...found.sources.keys()].sort()).toEqual(files);
    expect(found.tensors.layers).toHaveLength(layers);
    expect([found.config.eosTokenIds, found.generation, found.tokenizerJson, found.chatTemplate]).toEqual([
      [511],
      { eosTokenIds: [] },
      undefined,
      undefined,
    ]);
    for (const tensor of found.directory.values()) {
      expect(tensor.byteOffset + tensor.byteLength).toBeLessThanOrEqual(found.sources.get(tensor.file)!.size);
    }
    for (const source of found.sources.values()) source.close();
  });
});

describe('from a hub', () => {
  let hub: HubServer | undefined;
  afterEach(() => hub?.close());
  test('config, index, shards and headers, all at one commit', async () => {
    hub = await startHub(new Map(['config.json', indexName, shard(1), shard(2)].map((file) => [file, read('dense-bf16', file)])));
    const files = await openModel(HUB_MODEL, { hubUrl: hub.hubUrl, retryDelayMs: 1 });
    const found = await openCheckpoint(files);
    expect([files.revision, found.directory.size, found.tensors.naming]).toEqual([HUB_COMMIT, 56, 'original']);
    const first = found.directory.get('lm_head.weight')!;
    const bytes = new Uint8Array(first.byteLength);
    await found.sources.get(first.file)!.read(first.byteOffset, bytes);
    expect(bytes).toEqual(read('dense-bf16', first.file).slice(first.byteOffset, first.byteOffset + first.byteLength));
  });
});

/** What a row of a table adds; rows differ in their keys. */
type Files = Record<string, Uint8Array | number>;

describe('text files', () => {
  const config = (template: unknown) => bytesOf(JSON.stringify({ chat_template: template }));
  test.each([
    {
      files: { 'chat_template.jinja': bytesOf('J'), 'tokenizer_config.json': config('C') },
      template: 'J',
      why: 'the jinja file wins',
    },
    { files: { 'tokenizer_config.json': config('C') }, template: 'C', why: 'a string' },
    {
      files: {
        'tokenizer_config.json': config([
          { name: 'tool', template: 'T' },
          { name: 'default', template: 'D' },
        ]),
      },
      template: 'D',
      why: 'the default of a list',
    },
    {
      files: { 'tokenizer_config.json': config([{ name: 'tool', template: 'T' }]) },
      template: undefined,
      why: 'a list without a default',
    },
    {
      files: { 'tokenizer_config.json': bytesOf('{"__proto__":{"chat_template":"P"}}') },
      template: undefined,
      why: 'not from a prototype',
    },
    { files: {}, template: undefined, why: 'none' },
  ])('chat template: $why', async ({ files, template }) => {
    expect((await openCheckpoint(single(files as Files))).chatTemplate).toBe(template);
  });

  test('tokenizer and generation config come along; a byte order mark does not', async () => {
    const found = await openCheckpoint(
      single({
        'tokenizer.json': bytesOf('\ufeff{"a":1}'),
        'generation_config.json': bytesOf('{"eos_token_id":[5],"top_k":20}'),
      }),
    );
    expect([found.tokenizerJson, found.generation, found.config.eosTokenIds]).toEqual([
      '{"a":1}',
      { eosTokenIds: [5], topK: 20 },
      [511, 5],
    ]);
  });

  test.each([
    { file: 'config.json', size: 5e6 },
    { file: 'generation_config.json', size: 2e6 },
    { file: 'tokenizer.json', size: 65 * 2 ** 20 },
    { file: 'tokenizer_config.json', size: 9e6 },
    { file: 'chat_template.jinja', size: 2e6 },
  ])('$file of $size bytes is refused unread', async ({ file, size }) => {
    const files = single({ [file]: size });
    await expect(openCheckpoint(files)).rejects.toMatchObject({ code: 'limit', message: expect.stringContaining(file) });
    expect(files.open_.size).toBe(0);
  });

  test.each([
    { files: { 'tokenizer_config.json': bytesOf('{') }, says: /tokenizer_config\.json is not valid JSON/ },
    { files: { 'tokenizer_config.json': config(5) }, says: /chat_template/ },
    { files: { 'tokenizer.json': Uint8Array.of(0xff) }, says: /tokenizer\.json is not valid UTF-8/ },
    { files: { 'config.json': bytesOf('[]') }, says: /config\.json/ },
    { files: { 'model.safetensors': new Uint8Array(4) }, says: /^model\.safetensors: / },
    { files: { 'model.safetensors': Uint8Array.from({ length: 99 }, () => 0xff) }, says: /^model\.safetensors: .*claims/ },
  ])('refuses $says and leaves nothing open', async ({ files, says }) => {
    const model = single(files as Partial<Files> as Files);
    await expect(openCheckpoint(model)).rejects.toMatchObject({ code: 'format', message: expect.stringMatching(says) });
    expect(model.open_.size).toBe(0);
  });

  test.each([{ missing: 'config.json' }, { missing: 'model.safetensors' }])('without $missing', async ({ missing }) => {
    const all: Record<string, Uint8Array> = {
      'config.json': read('dense-4bit', 'config.json'),
      'model.safetensors': read('dense-4bit', 'model.safetensors'),
    };
    delete all[missing];
    await expect(openCheckpoint(memoryFiles(all))).rejects.toMatchObject({
      code: 'not-found',
      message: expect.stringContaining(missing),
    });
  });
});

describe('shards', () => {
  test('vision and mtp shards are never opened; tensors that no index lists are kept', async () => {
    const { 'lm_head.weight': _, ...rest } = index.weight_map;
    const files = sharded({ ...rest, 'mtp.fc.weight': 'mtp.safetensors', 'vision_tower.a': 'vision.safetensors' });
    const found = await openCheckpoint(files);
    expect(files.opened).not.toContain('mtp.safetensors');
    expect(found.directory.has('lm_head.weight')).toBe(true);
    expect(files.open_.size).toBe(2); // the two shards; every text file is closed
  });

  test('a copy in another shard than the index says is passed over', async () => {
    const extra = weightFile({ 'lm_head.weight': { dtype: 'BF16', shape: [512, 128] }, other: { dtype: 'U8', shape: [1] } });
    const found = await openCheckpoint(
      sharded({ ...index.weight_map, other: 'extra.safetensors' }, { 'extra.safetensors': extra }),
    );
    expect(found.directory.get('lm_head.weight')!.file).toBe(shard(1));
  });

  const twice = weightFile({
    stray: { dtype: 'U8', shape: [1] },
    a: { dtype: 'U8', shape: [1] },
    b: { dtype: 'U8', shape: [1] },
  });
  test.each([
    {
      map: { ghost: shard(1) },
      more: {},
      code: 'format',
      says: /ghost is in model-00001-of-00002\.safetensors, but it is not there/,
    },
    { map: { ghost: 'gone.safetensors' }, more: {}, code: 'not-found', says: /names gone\.safetensors/ },
    { map: { a: 'x1', b: 'x2' }, more: { x1: twice, x2: twice }, code: 'format', says: /stray is in x1 and in x2/ },
    { map: { a: '../x1' }, more: {}, code: 'format', says: /"\.\.\/x1"/ },
    { map: { a: 'https://evil/x' }, more: {}, code: 'format', says: /plain file name/ },
  ])('$says', async ({ map, more, code, says }) => {
    const files = sharded(
      { ...index.weight_map, ...(map as Partial<Record<string, string>> as Record<string, string>) },
      more as Files,
    );
    await expect(openCheckpoint(files)).rejects.toMatchObject({ code, message: expect.stringMatching(says) });
    expect(files.open_.size).toBe(0);
    for (const name of files.opened) expect(name).not.toMatch(/[/:]/);
  });
});

test('a header larger than the first piece is read whole; a source that lies about its size costs little memory', async () => {
  const names = Array.from({ length: 20_000 }, (_, i) => [`extra.${i}`, { dtype: 'U8', shape: [1] }] as [string, Entry]);
  const large = weightFile(Object.fromEntries(names));
  expect(large.byteLength).toBeGreaterThan(1_200_000);
  const found = await openCheckpoint(sharded({ ...index.weight_map, 'extra.0': 'large' }, { large }));
  expect(found.directory.get('extra.19999')!.byteOffset).toBe(large.byteLength - 1);

  const asked: number[] = [];
  const files = single();
  const open = files.open.bind(files);
  files.open = async (name, signal) => {
    if (name !== 'model.safetensors') return open(name, signal);
    const read = async (_: number, into: Uint8Array) => {
      asked.push(into.byteLength);
      if (asked.length > 1) throw new EngineError('storage', 'cut');
      into.set([0, 0, 0, 5]); // a header of 80 MB
    };
    return { label: name, size: 1e12, read, close() {} };
  };
  await expect(openCheckpoint(files)).rejects.toMatchObject({ code: 'storage' });
  expect(asked).toEqual([8, 1 << 20]);
});

test('aborts, and leaves nothing open', async () => {
  const controller = new AbortController();
  const files = single();
  const open = files.open.bind(files);
  files.open = async (name, signal) => {
    if (name === 'model.safetensors') controller.abort();
    return open(name, signal);
  };
  const error = await openCheckpoint(files, controller.signal).catch((reason: unknown) => reason);
  expect(isAbort(error)).toBe(true);
  expect(files.open_.size).toBe(0);
});
