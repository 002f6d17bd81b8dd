/** The API in front of a server: a real one, on loopback, that keeps what it was asked. */
import { afterEach, describe, expect, test, vi } from 'vitest';
import { type ChatEngine, createEndpointEngine } from '../../src/api';
import { type OpenAiServer, type OpenAiServerOptions, startOpenAiServer } from '../servers/openai_server';

const KEY = 'sk-very-secret';
const servers: OpenAiServer[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

async function serve(options?: OpenAiServerOptions): Promise<OpenAiServer> {
  const server = await startOpenAiServer(options);
  servers.push(server);
  return server;
}

const agree = () => true;
const hello = { messages: [{ role: 'user' as const, content: 'Hello there' }] };

async function textOf(engine: ChatEngine, request = hello, options = {}): Promise<string> {
  let text = '';
  for await (const chunk of await engine.chat.completions.create({ ...request, stream: true }, options))
    text += chunk.choices[0]?.delta.content ?? '';
  return text;
}

describe('consent', () => {
  test.each([
    ['nobody to ask', undefined],
    ['a no', () => false],
    ['anything but a plain yes', () => 'yes' as unknown as boolean],
  ])('%s: nothing is sent', async (_, onFallback) => {
    const server = await serve();
    await expect(createEndpointEngine({ url: server.url }, { onFallback: onFallback! })).rejects.toMatchObject({
      code: 'consent',
    });
    expect(server.asked).toEqual([]);
  });

  test('whoever is asked learns where everything goes', async () => {
    const server = await serve();
    const onFallback = vi.fn(() => Promise.resolve(true));
    const engine = await createEndpointEngine({ url: server.url }, { onFallback });
    const { host, origin } = new URL(server.url);
    expect(onFallback).toHaveBeenCalledExactlyOnceWith({ host, origin, reason: 'chosen', message: expect.any(String) });
    expect(engine.answeredBy).toEqual({ place: 'endpoint', host, origin });
    expect(engine.info.model).toBe('echo-1');
  });
});

describe('a conversation', () => {
  test('streams, turn by turn, with usage and the server’s own model', async () => {
    const server = await serve();
    const engine = await createEndpointEngine({ url: server.url }, { onFallback: agree });
    const messages: { role: 'user' | 'assistant'; content: string }[] = [];
    for (const content of ['Hello there', 'And again']) {
      messages.push({ role: 'user', content });
      const text = await textOf(engine, { messages } as typeof hello);
      expect(text).toBe(`You said: "${content}"`);
      messages.push({ role: 'assistant', content: text });
    }
    const whole = await engine.chat.completions.create({ ...hello, temperature: 0.5, allow_special_tokens: false });
    expect(whole).toMatchObject({
      model: 'echo-1',
      choices: [{ message: { content: 'You said: "Hello there"' }, finish_reason: 'stop' }],
      usage: { prompt_tokens: 10, completion_tokens: 4, total_tokens: 14 },
    });
    const body = server.asked.at(-1)!.body!;
    expect(body).toEqual({ ...hello, temperature: 0.5, model: 'echo-1', stream: true, stream_options: { include_usage: true } });
    expect(server.asked.map(({ path }) => path)).toEqual(['/v1/models', ...Array(3).fill('/v1/chat/completions')]);
  });

  test('a signal drops a reply, and the server’s connection with it; interruptGenerate keeps what was said', async () => {
    const server = await serve({ wordMs: 20, reply: () => 'word '.repeat(200) });
    const engine = await createEndpointEngine({ url: server.url, model: 'm' }, { onFallback: agree });
    const controller = new AbortController();
    const aborted = (async () => {
      for await (const chunk of await engine.chat.completions.create({ ...hello, stream: true }, { signal: controller.signal }))
        if (chunk.choices[0]?.delta.content) controller.abort();
    })();
    await expect(aborted).rejects.toMatchObject({ name: 'AbortError' });
    let text = '';
    let last: unknown;
    for await (const { choices } of await engine.chat.completions.create({ ...hello, stream: true })) {
      text += choices[0]?.delta.content ?? '';
      last = choices[0];
      if (text.length > 12) engine.interruptGenerate();
    }
    expect(text).toMatch(/^(word )+$/);
    expect(last).toMatchObject({ finish_reason: 'stop', interrupted: true });
    await vi.waitFor(() => expect(server.abandoned).toBe(2));
    await engine.unload();
    await expect(engine.chat.completions.create(hello)).rejects.toMatchObject({ code: 'unloaded' });
  });

  test('leaving the loop ends the request', async () => {
    const server = await serve({ wordMs: 20, reply: () => 'word '.repeat(200) });
    const engine = await createEndpointEngine({ url: server.url, model: 'm' }, { onFallback: agree });
    for await (const chunk of await engine.chat.completions.create({ ...hello, stream: true })) {
      if (chunk.choices[0]?.delta.content) break;
    }
    await vi.waitFor(() => expect(server.abandoned).toBe(1));
  });

  test('leaving ends it also while the next word is waited for', async () => {
    const server = await serve({ fault: 'silent' });
    const engine = await createEndpointEngine({ url: server.url, model: 'm' }, { onFallback: agree });
    const stream = await engine.chat.completions.create({ ...hello, stream: true });
    const chunks = stream[Symbol.asyncIterator]();
    expect((await chunks.next()).done).toBe(false);
    const waiting = chunks.next();
    await chunks.return!();
    expect(await waiting).toEqual({ done: true, value: undefined });
    await vi.waitFor(() => expect(server.abandoned).toBe(1));
  });

  test('a reply that was asked for and not yet read is not sent once the engine is unloaded', async () => {
    const server = await serve();
    const engine = await createEndpointEngine({ url: server.url, model: 'm' }, { onFallback: agree });
    const stream = await engine.chat.completions.create({ ...hello, stream: true });
    await engine.unload();
    await expect(stream[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'unloaded' });
    expect(server.asked).toEqual([]);
  });

  test('thinking is apart from the reply; calls are put together, with an id where the server has none', async () => {
    const server = await serve({ thinks: 'Hm.' });
    const engine = await createEndpointEngine({ url: server.url, model: 'm' }, { onFallback: agree });
    const { message } = (await engine.chat.completions.create(hello)).choices[0]!;
    expect(message).toMatchObject({ reasoning_content: 'Hm.', content: 'You said: "Hello there"' });
    server.options.call = () => ({ name: 'weather', arguments: '{"city":"Paris"}' });
    for (const plainCalls of [false, true]) {
      server.options.plainCalls = plainCalls;
      const called = (await engine.chat.completions.create(hello)).choices[0]!;
      expect(called).toMatchObject({
        finish_reason: 'tool_calls',
        message: {
          content: null,
          tool_calls: [{ id: expect.stringMatching(/^call_/), function: { name: 'weather', arguments: '{"city":"Paris"}' } }],
        },
      });
    }
  });

  test.each([
    [{ n: 2 }, 'n'],
    [{ response_format: { type: 'grammar' as const, grammar: 'root ::= "a"' } }, 'response_format'],
    [{ temperature: 9 }, 'temperature'],
    [{ nonsense: 1 }, 'nonsense'],
  ])('%j is refused before it is sent', async (fields, field) => {
    const server = await serve();
    const engine = await createEndpointEngine({ url: server.url, model: 'm' }, { onFallback: agree });
    await expect(engine.chat.completions.create({ ...hello, ...fields })).rejects.toMatchObject({
      code: 'invalid-request',
      field,
    });
    expect(server.asked).toEqual([]);
  });
});

describe('keys', () => {
  test('from text or a function, in one header only', async () => {
    const server = await serve({ key: KEY });
    for (const apiKey of [KEY, async () => KEY]) {
      const engine = await createEndpointEngine({ url: server.url, apiKey }, { onFallback: agree });
      expect(await textOf(engine)).toContain('You said');
      expect(JSON.stringify(engine)).not.toContain(KEY);
    }
    for (const { headers, path, body } of server.asked) {
      expect(headers.authorization).toBe(`Bearer ${KEY}`);
      expect(JSON.stringify([{ ...headers, authorization: '' }, path, body])).not.toContain(KEY);
    }
  });

  test('a server that repeats a wrong key does not put it into the error', async () => {
    const server = await serve({ key: 'another' });
    const failed = createEndpointEngine({ url: server.url, apiKey: KEY }, { onFallback: agree });
    await expect(failed).rejects.toMatchObject({
      code: 'endpoint',
      message: expect.stringContaining('Incorrect API key provided: …'),
    });
    Object.assign(server.options, { key: undefined, fault: 'error-event' });
    const engine = await createEndpointEngine({ url: server.url, apiKey: KEY }, { onFallback: agree });
    const broken = textOf(engine);
    await expect(broken).rejects.toMatchObject({ code: 'endpoint', message: expect.stringMatching(/GPU on fire for Bearer …/) });
  });

  test('nor any part of it, where the server’s words are long', async () => {
    const padding = 'x'.repeat(290 - 'Incorrect API key provided: '.length);
    const server = await serve({ key: 'another', padding });
    const messageOf = (failed: Promise<unknown>) =>
      failed.then(
        () => expect.fail('no error'),
        ({ message }: Error) => message,
      );
    const refused = messageOf(createEndpointEngine({ url: server.url, apiKey: KEY }, { onFallback: agree }));
    expect(await refused).toContain('xx');
    expect(await refused).not.toContain(KEY.slice(0, 4));
    for (const room of [250, 260, 270, 280, 290]) {
      Object.assign(server.options, { key: undefined, fault: 'error-event', padding: 'x'.repeat(room) });
      const engine = await createEndpointEngine({ url: server.url, apiKey: KEY }, { onFallback: agree });
      expect(await messageOf(textOf(engine))).not.toContain(KEY.slice(0, 4));
    }
  });

  test.each([[''], ['two words'], ['line\nbreak'], [7]])('%j is no key', async (apiKey) => {
    const server = await serve();
    const failed = createEndpointEngine({ url: server.url, apiKey: apiKey as string }, { onFallback: agree });
    await expect(failed).rejects.toMatchObject({ code: 'invalid-request', field: 'apiKey' });
    expect(server.asked).toEqual([]);
  });
});

describe('an abort is one wherever it comes', () => {
  const created = (url: string, apiKey?: () => Promise<string>) => {
    const controller = new AbortController();
    const engine = createEndpointEngine({ url, apiKey }, { onFallback: agree, signal: controller.signal });
    engine.catch(() => {});
    return { engine, controller };
  };

  test.each(['half-list', 'half-refusal'] as const)('in the body: %s', async (fault) => {
    const server = await serve({ fault });
    const { engine, controller } = created(server.url);
    await vi.waitFor(() => expect(server.asked).toHaveLength(1));
    await new Promise((resolve) => setTimeout(resolve, 50)); // for the head to arrive
    controller.abort();
    await expect(engine).rejects.toMatchObject({ name: 'AbortError' });
  });

  test('before there is a key', async () => {
    const server = await serve();
    const { engine, controller } = created(server.url, () => new Promise(() => {}));
    await new Promise((resolve) => setTimeout(resolve));
    controller.abort();
    await expect(engine).rejects.toMatchObject({ name: 'AbortError' });
    expect(server.asked).toEqual([]);
  });
});

describe('what servers do wrong', () => {
  test('a redirect is not followed: nothing reaches the other host', async () => {
    const other = await serve();
    const server = await serve({ fault: 'redirect', location: `${other.url}/chat/completions` });
    const engine = await createEndpointEngine({ url: server.url, model: 'm', apiKey: KEY }, { onFallback: agree });
    await expect(textOf(engine)).rejects.toMatchObject({ code: 'endpoint' });
    expect(other.asked).toEqual([]);
  });

  test.each([
    ['cut', /broke in mid-reply|stopped in mid-reply/],
    ['error-event', /GPU on fire/],
    ['prose', /OpenAI-compatible/],
    ['status-500', /500.*out of order/],
  ] as const)('%s', async (fault, message) => {
    const server = await serve({ fault });
    const engine = await createEndpointEngine({ url: server.url, model: 'm' }, { onFallback: agree });
    await expect(textOf(engine)).rejects.toMatchObject({ code: 'endpoint', message: expect.stringMatching(message) });
  });

  test('nobody there', async () => {
    const server = await serve();
    await server.close();
    const failed = createEndpointEngine({ url: server.url }, { onFallback: agree });
    await expect(failed).rejects.toMatchObject({
      code: 'endpoint',
      message: expect.stringMatching(/on this machine.*OLLAMA_ORIGINS/),
    });
  });

  test('a wrong path says what may be missing', async () => {
    const server = await serve();
    const url = new URL('/', server.url);
    await expect(createEndpointEngine({ url }, { onFallback: agree })).rejects.toThrow(/is \/v1 missing/);
  });
});
