/** A small OpenAI-compatible server: lists a model, streams replies word by word, keeps what it was asked. Loopback, a port of its own. */
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export type Asked = { method: string; path: string; headers: IncomingHttpHeaders; body: Record<string, unknown> | undefined };

export type OpenAiServerOptions = {
  /** Refuse requests without it, and, as careless servers do, repeat what was sent. */
  key?: string;
  /** Let pages of other origins read. Default true. */
  cors?: boolean;
  /** Milliseconds between words. Default 0. */
  wordMs?: number;
  /** 'redirect': send everybody elsewhere; 'cut': stop in mid-reply; 'error-event': an error in mid-reply; 'prose': answer with a web page; 'half-…': begin a
   * body and never end it; 'silent': a reply without a word. */
  fault?: 'redirect' | 'cut' | 'error-event' | 'prose' | 'status-500' | 'hostile-words' | 'half-list' | 'half-refusal' | 'silent';
  /** Ids of the models that it lists. Default: echo-1. */
  models?: readonly string[];
  /** Stands before what an error repeats. */
  padding?: string;
  /** Where 'redirect' leads. */
  location?: string;
  /** The words of a reply. Default: what the last message said. */
  reply?(messages: { role: string; content: unknown }[]): string;
  /** What it thinks before it answers. */
  thinks?: string;
  /** Answer with this call, its arguments in pieces, instead of words. `id` may be missing, as it is from some servers. */
  call?(messages: { role: string; content: unknown }[]): { id?: string; name: string; arguments: string } | undefined;
  /** Without the index of a call, as some servers have it. */
  plainCalls?: boolean;
};

export type OpenAiServer = {
  /** Ends in /v1. */
  url: string;
  asked: Asked[];
  /** Replies whose reader went away before the end. */
  abandoned: number;
  options: OpenAiServerOptions;
  close(): Promise<void>;
};

export async function startOpenAiServer(options: OpenAiServerOptions = {}): Promise<OpenAiServer> {
  const server = createServer((request, response) => void answer(state, request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const state: OpenAiServer = {
    url: `http://127.0.0.1:${port}/v1`,
    asked: [],
    abandoned: 0,
    options,
    close() {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
  return state;
}

async function answer(state: OpenAiServer, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { key, cors = true, fault, location, padding = '' } = state.options;
  if (cors) {
    response.setHeader('Access-Control-Allow-Origin', '*');
    response.setHeader('Access-Control-Allow-Headers', 'authorization, content-type');
  }
  if (request.method === 'OPTIONS') return void response.writeHead(204).end();
  const asked = await read(request);
  state.asked.push(asked);
  if (fault === 'redirect') return void response.writeHead(307, { location }).end();
  if (fault === 'status-500') return void response.writeHead(500).end('out of order');
  if (fault === 'hostile-words') return json(response, 400, { error: { message: '<img src="/stolen.png">' } });
  if (fault === 'half-list') return void response.writeHead(200, { 'content-type': 'application/json' }).write('{"data":[');
  if (fault === 'half-refusal') return void response.writeHead(500).write('out of');
  if (key && asked.headers.authorization !== `Bearer ${key}`) {
    const message = `${padding}Incorrect API key provided: ${asked.headers.authorization?.slice('Bearer '.length) ?? 'none'}`;
    return json(response, 401, { error: { message } });
  }
  if (asked.path === '/v1/models') {
    const { models = ['echo-1'] } = state.options;
    return json(response, 200, { object: 'list', data: models.map((id) => ({ id, object: 'model' })) });
  }
  if (asked.path !== '/v1/chat/completions') return json(response, 404, { error: { message: `no ${asked.path}` } });
  if (fault === 'prose') return void response.writeHead(200, { 'content-type': 'text/html' }).end('data: <h1>Welcome</h1>\n\n');
  await stream(state, asked, response);
}

async function read(request: IncomingMessage): Promise<Asked> {
  let text = '';
  for await (const piece of request) text += piece;
  const { method = '', url = '', headers } = request;
  return { method, path: url, headers, body: text === '' ? undefined : JSON.parse(text) };
}

function json(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

async function stream(state: OpenAiServer, asked: Asked, response: ServerResponse): Promise<void> {
  const { wordMs = 0, fault, reply, padding = '' } = state.options;
  const messages = (asked.body?.messages ?? []) as { role: string; content: unknown }[];
  const words = (reply?.(messages) ?? `You said: ${JSON.stringify(messages.at(-1)?.content)}`).match(/\S+\s*/g) ?? [];
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.on('close', () => {
    if (!response.writableFinished) state.abandoned++;
  });
  const head = { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: asked.body?.model };
  const send = (data: object) => response.write(`data: ${JSON.stringify(data)}\n\n`);
  const delta = (fields: object, finish: string | null = null) =>
    send({ ...head, choices: [{ index: 0, delta: fields, finish_reason: finish }] });
  delta({ role: 'assistant', content: '' });
  if (fault === 'silent') return;
  const call = state.options.call?.(messages);
  if (call) {
    const piece = (id: string | undefined, fields: object) =>
      delta({ tool_calls: [{ ...(state.options.plainCalls ? {} : { index: 0 }), id, type: 'function', function: fields }] });
    piece(call.id, { name: call.name, arguments: '' });
    for (const text of call.arguments.match(/.{1,4}/g) ?? []) piece(undefined, { arguments: text });
    delta({}, 'tool_calls');
    return void response.end('data: [DONE]\n\n');
  }
  delta({ reasoning_content: state.options.thinks });
  for (const [i, word] of words.entries()) {
    if (response.destroyed) return;
    if (i === 2 && fault === 'cut') return void response.destroy();
    if (i === 2 && fault === 'error-event') {
      send({ error: { message: `${padding}GPU on fire for ${asked.headers.authorization}` } });
      return void response.end();
    }
    delta({ content: word });
    await new Promise((resolve) => setTimeout(resolve, wordMs));
  }
  delta({}, 'stop');
  const usage = { prompt_tokens: messages.length * 10, completion_tokens: words.length, total_tokens: 0 };
  send({ ...head, choices: [], usage });
  response.end('data: [DONE]\n\n');
}
