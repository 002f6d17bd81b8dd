/** The guard, through real threads: what takes too long is ended, and the next call works. */
import { type Remote, wrap } from 'comlink';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { EngineError } from '../../src/errors';
import { spawnTextWorker } from '../../src/node/text_worker_spawn';
import { createTextHost, type TextHost, type TextHostOptions } from '../../src/text/text_host';
import type { TextFiles, TextWorkerApi } from '../../src/text/text_worker_api';
import { bundleTextWorker } from './bundled_worker';
import { storyTokenizer } from './fixtures';

let bundle: Awaited<ReturnType<typeof bundleTextWorker>>;
beforeAll(async () => {
  bundle = await bundleTextWorker();
}, 30_000);
afterAll(() => bundle.remove());

const hosts: TextHost[] = [];
let spawned = 0;
afterEach(() => {
  for (const host of hosts.splice(0)) host.dispose();
});

function newHost(options: Partial<TextHostOptions> = {}): TextHost {
  spawned = 0;
  const spawn = () => {
    spawned++;
    return spawnTextWorker(bundle.url);
  };
  const host = createTextHost({ spawn, timeoutMs: 500, ...options });
  hosts.push(host);
  return host;
}

async function loaded(
  options: Partial<TextHostOptions> = {},
  files: Partial<ReturnType<typeof storyTokenizer>> = {},
): Promise<TextHost> {
  const host = newHost(options);
  await host.load({ ...storyTokenizer(), ...files });
  return host;
}

const story = JSON.parse(storyTokenizer().tokenizerJson);
/** The story tokenizer with parts replaced. */
const withParts = (parts: object) => ({ tokenizerJson: JSON.stringify({ ...story, ...parts }) });
const plain = { allowSpecialTokens: false };
const messages = [{ role: 'user', content: 'hi' }];
const failsWith = (code: string, message = '') =>
  expect.objectContaining({ name: 'EngineError', code, message: expect.stringContaining(message) });

describe('normal calls', () => {
  test('load, render, encode, stream, decode', async () => {
    const host = newHost({ timeoutMs: 5000 });
    const info = await host.load(storyTokenizer());
    expect(info).toEqual({
      vocabSize: 4096,
      hasChatTemplate: true,
      specialTokens: { '<|endoftext|>': 4093, '<|im_start|>': 4094, '<|im_end|>': 4095 },
      addedTokens: {},
      bosTokenId: undefined,
      eosTokenId: 4095,
    });
    const prompt = await host.render({ messages });
    expect(prompt).toBe('<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n');
    const ids = await host.encode(prompt, { allowSpecialTokens: true });
    expect(ids.filter((id) => id >= 4093)).toEqual([4094, 4095, 4094]);
    expect(await host.decode(ids)).toBe('user\nhi\nassistant\n');
    const stream = host.openStream({ stop: ['assist'] });
    expect(await stream.push(ids)).toEqual({ text: 'user\nhi\n', stopped: true, used: expect.any(Number) });
    expect(await stream.finish()).toBe('');
    await expect(stream.push([1])).rejects.toThrow(failsWith('internal', 'ended'));
    expect(spawned).toBe(1);
  });

  test('a worker that cannot start is an error, not a wait', async () => {
    const port = Object.assign(new EventTarget(), { postMessage: () => {} });
    const onFailure = (listener: (failure: { kind: 'other'; message: string }) => void) => {
      setTimeout(() => listener({ kind: 'other', message: 'gone' }), 20);
    };
    const host = newHost({ spawn: () => ({ port, terminate: () => {}, onFailure }) });
    await expect(host.load(storyTokenizer())).rejects.toThrow(failsWith('internal', 'gone'));
  });

  test('errors keep their codes', async () => {
    const host = await loaded({ timeoutMs: 5000 }, { chatTemplate: '{{ raise_exception("no") }}' });
    await expect(host.render({ messages })).rejects.toThrow(failsWith('format', 'no'));
    await expect(host.render({ messages: [{ role: 'user', content: [{ type: 'image_url' }] }] })).rejects.toThrow(
      failsWith('unsupported-content'),
    );
    await expect(host.render({ messages: [{ role: 'user', content: () => 1 }] })).rejects.toThrow(failsWith('invalid-request'));
    await expect(newHost().encode('a', plain)).rejects.toThrow(failsWith('internal', 'load'));
    expect(await host.encode('', plain)).toEqual([]);
  });
});

const spaces = 'x'.repeat(64);
const split = (regex: string) => ({
  pre_tokenizer: { type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false },
});
const nestedLoops = '{% for a in range(9999) %}{% for b in range(9999) %}{% if a + b < 0 %}x{% endif %}{% endfor %}{% endfor %}';

describe('hostile files end in limit and the next call works', () => {
  test.each([
    { what: 'nested loops', files: { chatTemplate: `{% if messages[0].content == "bad" %}${nestedLoops}{% endif %}ok` } },
    { what: 'a regular expression in the lexer', files: { chatTemplate: `ok{# ${' '.repeat(900_000)} #}` }, always: true },
    {
      what: 'a huge range',
      files: { chatTemplate: '{% if messages[0].content == "bad" %}{% for i in range(10**9) %}{% endfor %}{% endif %}ok' },
    },
    {
      what: 'a doubling string',
      files: {
        chatTemplate:
          '{% set ns = namespace(s="x") %}{% if messages[0].content == "bad" %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}{% endif %}ok',
      },
    },
  ])('template: $what', async ({ files, always }) => {
    const host = await loaded({}, files);
    const start = performance.now();
    await expect(host.render({ messages: [{ role: 'user', content: 'bad' }] })).rejects.toThrow(failsWith('limit'));
    expect(performance.now() - start).toBeLessThan(2000);
    if (!always) expect(await host.render({ messages })).toBe('ok');
    expect((await host.encode('Once upon a time', plain)).length).toBeGreaterThan(0);
  });

  test.each([
    { what: '(a+)+$', parts: split('(a+)+$'), text: `${'a'.repeat(64)}!` },
    { what: '(x|x)*y', parts: split('(x|x)*y'), text: spaces },
    {
      what: 'a normaliser pattern',
      parts: { normalizer: { type: 'Replace', pattern: { Regex: '(a|aa)+$' }, content: '' } },
      text: `${'a'.repeat(64)}!`,
    },
  ])('tokenizer: $what', async ({ parts, text }) => {
    const host = await loaded({}, withParts(parts));
    const start = performance.now();
    await expect(host.encode(text, plain)).rejects.toThrow(failsWith('limit', 'Tokenising took longer than 500 ms'));
    expect(performance.now() - start).toBeLessThan(2000);
    expect((await host.encode('b c', plain)).length).toBeGreaterThan(0);
    expect(spawned).toBe(2);
  });

  test('decoder: a pattern that backtracks', async () => {
    const decoder = {
      type: 'Sequence',
      decoders: [{ type: 'Fuse' }, { type: 'Replace', pattern: { Regex: '(a+)+$' }, content: '' }],
    };
    const host = await loaded({}, withParts({ decoder }));
    const [a] = await host.encode('a', plain);
    const [b] = await host.encode('!', plain);
    const stream = host.openStream();
    expect((await stream.push([b!])).text).toBe('!');
    await expect(host.decode([...Array(50).fill(a), b!])).resolves.toBeTypeOf('string'); // the window is too short to hurt
  });

  test('output past the limit', async () => {
    const host = await loaded({ maxOutputBytes: 100 }, { chatTemplate: '{{ messages[0].content }}' });
    await expect(host.render({ messages: [{ role: 'user', content: 'x'.repeat(101) }] })).rejects.toThrow(failsWith('limit'));
    await expect(host.encode('a b c d '.repeat(10), plain)).rejects.toThrow(failsWith('limit'));
    expect(await host.render({ messages })).toBe('hi');
    expect(spawned).toBe(1);
  });

  test('memory: the thread ends, this process does not', async () => {
    const host = createTextHost({ spawn: () => spawnTextWorker(bundle.url, { maxHeapMb: 24 }), timeoutMs: 5000 });
    hosts.push(host);
    await host.load(storyTokenizer());
    await expect(host.encode('a b '.repeat(1_000_000), plain)).rejects.toThrow(failsWith('limit', 'memory'));
    expect((await host.encode('a', plain)).length).toBe(1);
  });

  test('a tokenizer that loads too slowly', async () => {
    const host = newHost({ loadTimeoutMs: 1 });
    await expect(host.load(storyTokenizer())).rejects.toThrow(failsWith('limit', 'loadTimeoutMs'));
  });

  test('a worker that cannot start', async () => {
    const host = createTextHost({ spawn: () => spawnTextWorker(new URL('file:///nowhere/worker.mjs')) });
    hosts.push(host);
    await expect(host.load(storyTokenizer())).rejects.toThrow(failsWith('internal', 'text worker failed'));
  });
});

describe('open streams', () => {
  const slow = { chatTemplate: nestedLoops };

  test('go on after the worker was ended, held text included', async () => {
    const host = await loaded({}, slow);
    const text = 'Once upon a time there was a 😀 fox.';
    const ids = await host.encode(text, plain);
    const stream = host.openStream({ stop: ['fox.x'] });
    let out = '';
    for (const [i, id] of ids.entries()) {
      out += (await stream.push([id])).text;
      if (i === 3 || i === ids.length - 1) await expect(host.render({ messages })).rejects.toThrow(failsWith('limit'));
    }
    expect(out).toBe(text.slice(0, -4));
    expect(out + (await stream.finish())).toBe(text);
    expect(spawned).toBe(3);
  });

  test('many at once do not mix', async () => {
    const host = await loaded();
    const texts = ['one fox', 'two bears', 'three hens'];
    const lists = await Promise.all(texts.map((text) => host.encode(text, plain)));
    const streams = texts.map(() => host.openStream());
    const out = await Promise.all(
      lists.map(async (ids, i) =>
        (await Promise.all(ids.map((id) => streams[i]!.push([id])))).map((piece) => piece.text).join(''),
      ),
    );
    expect(out).toEqual(texts);
    for (const stream of streams) stream.close();
    expect(await host.decode(lists[0]!)).toBe('one fox');
  });
});

describe('queue and abort', () => {
  test('an abort while waiting rejects at once, and the call is never made', async () => {
    const host = await loaded({}, { chatTemplate: nestedLoops });
    const first = host.render({ messages }).catch((error) => error);
    const controller = new AbortController();
    const second = host.encode('a', { ...plain, signal: controller.signal });
    const third = host.encode('b', plain);
    const start = performance.now();
    controller.abort(new Error('a reason of its own'));
    await expect(second).rejects.toThrow(expect.objectContaining({ name: 'AbortError' }));
    expect(performance.now() - start).toBeLessThan(100);
    expect(await first).toBeInstanceOf(EngineError);
    expect((await third).length).toBe(1);
    await expect(host.encode('a', { ...plain, signal: controller.signal })).rejects.toThrow(
      expect.objectContaining({ name: 'AbortError' }),
    );
  });

  test('an abort while running frees the caller; the call behind it waits for the end', async () => {
    const host = await loaded({}, { chatTemplate: nestedLoops });
    const controller = new AbortController();
    const first = host.render({ messages }, { signal: controller.signal });
    const next = host.encode('b', plain);
    setTimeout(() => controller.abort(), 20);
    await expect(first).rejects.toThrow(expect.objectContaining({ name: 'AbortError' }));
    expect((await next).length).toBe(1);
    expect(spawned).toBe(2);
  });

  test('dispose rejects what runs and what waits', async () => {
    const host = await loaded({ timeoutMs: 5000 }, { chatTemplate: nestedLoops });
    const calls = [host.render({ messages }), host.encode('a', plain)].map((call) => call.catch((error) => error));
    await new Promise((resolve) => setTimeout(resolve, 50));
    host.dispose();
    for (const call of calls) expect(await call).toEqual(failsWith('unloaded'));
    await expect(host.encode('a', plain)).rejects.toThrow(failsWith('unloaded'));
  });

  test('a busy thread here is not a slow worker there', async () => {
    const host = await loaded({ timeoutMs: 200 });
    const call = host.encode('a', plain);
    await new Promise((resolve) => setTimeout(resolve, 1)); // let the call go out
    const until = performance.now() + 600;
    while (performance.now() < until);
    expect((await call).length).toBe(1);
  });
});

describe('malformed files give an EngineError or a working tokenizer, in time', () => {
  const junk: unknown[] = [
    null,
    true,
    0,
    -1,
    1e9,
    1.5,
    '',
    'x',
    [],
    {},
    [[]],
    { type: 'Sequence' },
    { Regex: '(' },
    { type: 'Replace', pattern: { String: '' }, content: 'ab' },
  ];

  /** Paths of everything in the JSON but the entries of long tables. */
  function paths(value: unknown, prefix: (string | number)[] = []): (string | number)[][] {
    if (typeof value !== 'object' || value === null) return [prefix];
    const keys = Array.isArray(value) ? value.keys() : Object.keys(value);
    return [
      prefix,
      ...[...keys].slice(0, 30).flatMap((key) => paths((value as Record<string | number, unknown>)[key], [...prefix, key])),
    ];
  }

  function mutate(json: unknown, path: (string | number)[], to: unknown): unknown {
    const copy = structuredClone(json);
    let node = copy as Record<string | number, unknown>;
    for (const key of path.slice(0, -1)) node = node[key] as typeof node;
    const last = path.at(-1)!;
    if (to === undefined) delete node[last];
    else node[last] = to;
    return copy;
  }

  /** Straight to one worker, since a host starts a new one for each load; a hang fails the test by its time. */
  async function survives(api: Remote<TextWorkerApi>, files: TextFiles): Promise<void> {
    const text = 'Hi <|im_end|> 1 é';
    const results = [
      await api.load(files, { maxOutputBytes: 2 ** 20 }),
      await api.encode(text, { allowSpecialTokens: true, addSpecialTokens: true }),
      await api.encode(text, plain),
      await api.decode([1, 2, 3, 4095]),
      await api.render({ messages }),
    ];
    for (const [i, result] of results.entries()) {
      if (!('error' in result)) continue;
      if (i === 0) return void expect(['format', 'limit']).toContain(result.error.code);
      expect(['format', 'limit', 'unsupported'], result.error.message).toContain(result.error.code);
    }
  }

  let worker: ReturnType<typeof spawnTextWorker>;
  let api: Remote<TextWorkerApi>;
  beforeAll(() => {
    worker = spawnTextWorker(bundle.url);
    api = wrap<TextWorkerApi>(worker.port);
  });
  afterAll(() => worker.terminate());

  const small = {
    ...story,
    model: {
      ...story.model,
      vocab: Object.fromEntries(Object.entries(story.model.vocab).slice(0, 300)),
      merges: story.model.merges.slice(0, 20),
    },
  };
  const config = JSON.parse(storyTokenizer().tokenizerConfig);
  const structure = (json: unknown) =>
    fc.tuple(fc.constantFrom(...paths(json).filter((path) => path.length > 0)), fc.constantFrom(undefined, ...junk));
  const damage = (text: string) =>
    fc
      .tuple(fc.nat(text.length), fc.nat(8), fc.string({ maxLength: 3 }))
      .map(([at, gone, added]) => text.slice(0, at) + added + text.slice(at + gone));

  test('tokenizer.json', async () => {
    const mutations = fc.oneof(
      { weight: 3, arbitrary: structure(small).map(([path, to]) => JSON.stringify(mutate(small, path, to))) },
      damage(JSON.stringify(small)),
    );
    await fc.assert(
      fc.asyncProperty(mutations, (tokenizerJson) => survives(api, { ...storyTokenizer(), tokenizerJson })),
      { numRuns: 400 },
    );
  }, 20_000);

  test('tokenizer_config.json and chat_template.jinja', async () => {
    const tokenizerJson = JSON.stringify(small);
    const template = `{% for m in messages %}{% if m.role == "user" and loop.first %}{{ m.content|trim }}{% else %}{{ m['content'][0:2] ~ 1 }}{% endif %}{% endfor %}{{ {"a": [1, none]}|tojson }}`;
    const files = fc.oneof(
      structure(config).map(([path, to]) => ({ tokenizerJson, tokenizerConfig: JSON.stringify(mutate(config, path, to)) })),
      damage(JSON.stringify(config)).map((tokenizerConfig) => ({ tokenizerJson, tokenizerConfig })),
      damage(template).map((chatTemplate) => ({ tokenizerJson, chatTemplate })),
    );
    await fc.assert(
      fc.asyncProperty(files, (files) => survives(api, files)),
      { numRuns: 400 },
    );
  }, 20_000);
});
