import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { ModelFiles } from '../../src/storage/byte_source';
import { parseHubId } from '../../src/storage/hub';
import { openModel } from '../../src/storage/model_ref';
import { HUB_COMMIT, HUB_MODEL, type HubServer, startHub } from '../servers/hub_server';

const config = new TextEncoder().encode('{"model_type":"qwen3_5"}');
const quick = { retryDelayMs: 1, tries: 2 };
let hub: HubServer;
beforeAll(async () => {
  hub = await startHub(new Map([['config.json', config]]));
});
afterEach(() => {
  hub.fault = undefined;
  hub.redirect = true;
  hub.log.length = 0;
});
afterAll(() => hub.close());

async function readAll(files: ModelFiles, name: string): Promise<string> {
  const source = await files.open(name);
  const bytes = new Uint8Array(source.size);
  await source.read(0, bytes);
  source.close();
  return new TextDecoder().decode(bytes);
}

describe('hub ids', () => {
  test.each([
    { id: 'acme/tiny', owner: 'acme', name: 'tiny', revision: 'main' },
    { id: 'mlx-community/Qwen3.5-4B-MLX-4bit', owner: 'mlx-community', name: 'Qwen3.5-4B-MLX-4bit', revision: 'main' },
    { id: 'acme/tiny@refs/pr/1', owner: 'acme', name: 'tiny', revision: 'refs/pr/1' },
    { id: `a/b@${HUB_COMMIT}`, owner: 'a', name: 'b', revision: HUB_COMMIT },
  ])('$id', ({ id, ...parts }) => expect(parseHubId(id)).toEqual(parts));

  test.each([
    '',
    'tiny',
    '/tiny',
    'acme/',
    'a/b/c',
    '../x',
    'x/..',
    './model',
    '/models/tiny',
    'a//b',
    'a/b@',
    'a/b@..',
    'a/b@../x',
    'a/b@x//y',
    'a/b@/x',
    'a/b@x/',
    'a/b@x/../y',
    'a/b@.git',
    'a/b@x/.git',
    'a/b@a b',
    'a/b@x?y',
    'a/b@x%2fy',
    'a/b#x',
    'a/b?x',
    'a b/c',
    'a/b\n',
    'a/b@main\n',
    'a\\b',
    'ftp://a/b',
    'file:///a/b',
    'javascript:alert/1',
    `${'a'.repeat(97)}/b`,
    'a/-b',
    '.a/b',
    'é/b',
    'a/b@@c',
  ])('refuses %j', async (id) => {
    expect(() => parseHubId(id)).toThrow(expect.objectContaining({ code: 'invalid-request' }));
    await expect(openModel(id, { hubUrl: hub.hubUrl })).rejects.toMatchObject({ code: 'invalid-request' });
    expect(hub.log).toEqual([]);
  });

  test('a branch is resolved to its commit once, and every file comes from that commit', async () => {
    const files = await openModel(HUB_MODEL, { ...quick, hubUrl: hub.hubUrl });
    expect([files.revision, files.label]).toEqual([HUB_COMMIT, HUB_MODEL]);
    expect(await readAll(files, 'config.json')).toContain('qwen3_5');
    expect(await readAll(files, 'config.json')).toContain('qwen3_5');
    const hubPaths = hub.log.filter(({ host }) => host === 'hub').map(({ path }) => path);
    expect(hubPaths).toEqual([
      `/api/models/${HUB_MODEL}/revision/main`,
      `/${HUB_MODEL}/resolve/${HUB_COMMIT}/config.json`,
      `/${HUB_MODEL}/resolve/${HUB_COMMIT}/config.json`,
    ]);
  });

  test('a commit needs no lookup; a pull request revision is one path segment', async () => {
    await openModel(`${HUB_MODEL}@${HUB_COMMIT}`, { ...quick, hubUrl: hub.hubUrl });
    expect(hub.log).toEqual([]);
    await openModel(`${HUB_MODEL}@refs/pr/1`, { ...quick, hubUrl: `${hub.hubUrl}/` });
    expect(hub.log[0]!.path).toBe(`/api/models/${HUB_MODEL}/revision/refs%2Fpr%2F1`);
  });

  test('unknown revisions and missing files are not-found', async () => {
    await expect(openModel(`${HUB_MODEL}@nope`, { ...quick, hubUrl: hub.hubUrl })).rejects.toMatchObject({
      code: 'not-found',
      message: expect.stringMatching(/acme\/tiny.*'nope'/),
    });
    const files = await openModel(HUB_MODEL, { ...quick, hubUrl: hub.hubUrl });
    await expect(files.open('generation_config.json')).rejects.toMatchObject({ code: 'not-found' });
  });

  test('token and headers reach the hub with every request and the CDN with none', async () => {
    const files = await openModel(HUB_MODEL, {
      ...quick,
      hubUrl: hub.hubUrl,
      token: 'hf_secret',
      headers: { 'X-Api-Key': 'secret-too' },
    });
    await readAll(files, 'config.json');
    for (const { host, headers } of hub.log) {
      expect([host, headers.authorization, headers['x-api-key']]).toEqual(
        host === 'hub' ? ['hub', 'Bearer hf_secret', 'secret-too'] : ['cdn', undefined, undefined],
      );
    }
    expect(hub.log.some(({ host }) => host === 'cdn')).toBe(true);
  });

  test.each(['{}', '{"sha":"../../x"}', '{"sha":1}', 'null', '[', '"'])(
    'a hub that answers %s names no commit',
    async (answer) => {
      const real = globalThis.fetch;
      globalThis.fetch = async () => new Response(answer, { headers: { 'content-type': 'application/json' } });
      try {
        await expect(openModel(HUB_MODEL, { ...quick, hubUrl: hub.hubUrl })).rejects.toMatchObject({
          code: 'storage',
          message: expect.stringMatching(/commit/),
        });
      } finally {
        globalThis.fetch = real;
      }
    },
  );
});

describe('URLs', () => {
  test.each(['', '/'])('a folder URL ending in "%s"; a query goes along with every file', async (end) => {
    hub.redirect = false;
    const files = await openModel(`${hub.hubUrl}${end}?signature=abc#x`, quick);
    expect(await readAll(files, 'config.json')).toContain('qwen3_5');
    expect(hub.log[0]!.path).toBe('/config.json');
    expect(files.label).not.toContain('abc');
    expect(files.revision).toBeUndefined();
  });

  test('names stay in the folder', async () => {
    const files = await openModel(new URL(hub.hubUrl), quick);
    for (const name of ['../x', 'a/b', 'http://evil/x', '..%2fx/..', 'a\\b', '', 'x\u0000', 'x'.repeat(256)]) {
      await expect(files.open(name), name).rejects.toMatchObject({ code: 'invalid-request' });
    }
    await expect(files.open('a%2f?b#c')).rejects.toMatchObject({ code: 'not-found' });
    expect(hub.log.map(({ path }) => path)).toEqual(['/a%252f%3Fb%23c']);
  });

  test.each(['http://user:pw@h/m', 'https://token@h/m', 'http://', 'https://['])('refuses %s', async (url) => {
    await expect(openModel(url)).rejects.toMatchObject({
      code: 'invalid-request',
      message: expect.not.stringMatching(/pw|token@/),
    });
  });
});

function picked(path: string, text = path): File {
  const file = new File([text], path.split('/').at(-1)!);
  if (path.includes('/')) Object.defineProperty(file, 'webkitRelativePath', { value: path });
  return file;
}

describe('files', () => {
  test('loose files, by base name', async () => {
    const files = await openModel([picked('model.safetensors'), picked('config.json')]);
    expect(await readAll(files, 'config.json')).toBe('config.json');
    await expect(files.open('tokenizer.json')).rejects.toMatchObject({ code: 'not-found' });
    await expect(files.open('../config.json')).rejects.toMatchObject({ code: 'invalid-request' });
  });

  test('a picked folder: the topmost config.json tells the model folder; subfolders do not shadow it', async () => {
    const files = await openModel(
      ['up/m/original/config.json', 'up/m/config.json', 'up/m/original/params.json'].map((path) => picked(path)),
    );
    expect(files.label).toBe('m');
    expect(await readAll(files, 'config.json')).toBe('up/m/config.json');
    await expect(files.open('params.json')).rejects.toMatchObject({ code: 'not-found' });
  });

  test.each([[[]], [['a']], [[null]], [42], [null], [{}]])('refuses %j', async (bad) => {
    await expect(openModel(bad as unknown as File[])).rejects.toMatchObject({ code: 'invalid-request' });
  });

  test.each([
    { thrown: 'NotFoundError', code: 'not-found' },
    { thrown: 'TypeMismatchError', code: 'not-found' },
    { thrown: 'NotAllowedError', code: 'storage' },
    { thrown: 'NoModificationAllowedError', code: 'storage' },
  ])('a directory handle that throws $thrown -> $code', async ({ thrown, code }) => {
    const directory = {
      kind: 'directory',
      name: 'm',
      getFileHandle: async (name: string) => {
        if (name !== 'config.json') throw new DOMException('no', thrown);
        return { kind: 'file', name, getFile: async () => new File(['{}'], name) };
      },
    } as unknown as FileSystemDirectoryHandle;
    const files = await openModel(directory);
    expect(await readAll(files, 'config.json')).toBe('{}');
    await expect(files.open('x')).rejects.toMatchObject({ code });
  });
});
