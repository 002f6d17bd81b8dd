/**
 * OpenAI's HTTP API in front of an engine, without a network: a `fetch` for clients that take one.
 *
 *   const client = new OpenAI({ apiKey: 'none', baseURL: 'http://sluice/v1', fetch: createFetch(engine), dangerouslyAllowBrowser: true });
 */
import { EngineError, type ErrorCode, isAbort, throwIfAborted } from '../errors';
import type { ChatRequest, CompletionRequest } from '../protocol/chat';
import type { Engine } from './types';

type FetchedEngine = Pick<Engine, 'chat' | 'completions' | 'embeddings' | 'info'>;
type Answer = { stream: AsyncIterable<unknown> } | { json: unknown };

/**
 * Serves /models, /models/{id}, /chat/completions, /completions and /embeddings under any host and prefix. Errors are OpenAI's: a body
 * `{ error: { message, type, param, code } }` and a status; an aborted request rejects with AbortError, as fetch does.
 */
export function createFetch(engine: FetchedEngine): (input: string | URL | Request, init?: RequestInit) => Promise<Response> {
  return async (input, init) => {
    const request = new Request(input instanceof Request ? input : new URL(input, 'http://localhost'), init);
    throwIfAborted(request.signal);
    try {
      const answer = await route(engine, request);
      return 'json' in answer ? Response.json(answer.json) : await eventStream(answer.stream);
    } catch (error) {
      if (isAbort(error)) throw error;
      return errorResponse(error);
    }
  };
}

async function route(engine: FetchedEngine, request: Request): Promise<Answer> {
  const path = new URL(request.url).pathname.replace(/\/+$/, '');
  const options = { signal: request.signal };
  if (request.method === 'GET') {
    if (path.endsWith('/models')) return { json: { object: 'list', data: [modelOf(engine)] } };
    if (path.endsWith(`/models/${encodeURIComponent(engine.info.model)}`) || path.endsWith(`/models/${engine.info.model}`))
      return { json: modelOf(engine) };
  }
  if (request.method === 'POST') {
    if (path.endsWith('/chat/completions')) {
      return answerOf(await engine.chat.completions.create((await bodyOf(request)) as ChatRequest, options));
    }
    if (path.endsWith('/completions')) {
      return answerOf(await engine.completions.create((await bodyOf(request)) as CompletionRequest, options));
    }
    if (path.endsWith('/embeddings')) return { json: await engine.embeddings.create() };
  }
  throw new EngineError('not-found', `Sluice serves no ${request.method} ${path}.`);
}

function answerOf(reply: object): Answer {
  return Symbol.asyncIterator in reply ? { stream: reply as AsyncIterable<unknown> } : { json: reply };
}

async function bodyOf(request: Request): Promise<unknown> {
  const text = await request.text();
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new EngineError('invalid-request', 'The body of a request must be JSON.', { cause });
  }
}

function modelOf({ info }: FetchedEngine) {
  return { id: info.model, object: 'model', created: 0, owned_by: 'sluice' };
}

/** Waits for the first chunk, which comes when the request is known to be sound: what is wrong with it is then still a status. */
async function eventStream(chunks: AsyncIterable<unknown>): Promise<Response> {
  const iterator = chunks[Symbol.asyncIterator]();
  let next: IteratorResult<unknown> | undefined = await iterator.next();
  const encoder = new TextEncoder();
  const data = (text: string) => encoder.encode(`data: ${text}\n\n`);
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { done, value } = next ?? (await iterator.next());
        next = undefined;
        controller.enqueue(data(done ? '[DONE]' : JSON.stringify(value)));
        if (done) controller.close();
      } catch (error) {
        if (isAbort(error)) return controller.error(error);
        controller.enqueue(data(JSON.stringify(errorBody(error))));
        controller.close();
      }
    },
    async cancel() {
      await iterator.return?.();
    },
  });
  return new Response(body, { headers: { 'content-type': 'text/event-stream', 'cache-control': 'no-store' } });
}

/** Status and OpenAI's type of each error; what is not here is the server's own failure. */
const statuses: { [code in ErrorCode]?: [status: number, type: string] } = {
  'invalid-request': [400, 'invalid_request_error'],
  'unsupported-content': [400, 'invalid_request_error'],
  'unsupported-schema': [400, 'invalid_request_error'],
  unsupported: [400, 'invalid_request_error'],
  'context-length': [400, 'invalid_request_error'],
  format: [400, 'invalid_request_error'], // the template refuses the messages
  limit: [400, 'invalid_request_error'],
  'not-found': [404, 'invalid_request_error'],
  'device-lost': [503, 'server_error'],
  unloaded: [503, 'server_error'],
};

/** `x-should-retry`: the official clients would ask again otherwise, and nothing here gets better by itself. */
function errorResponse(error: unknown): Response {
  const status = (error instanceof EngineError && statuses[error.code]?.[0]) || 500;
  return Response.json(errorBody(error), { status, headers: { 'x-should-retry': 'false' } });
}

function errorBody(error: unknown) {
  const engineError = error instanceof EngineError ? error : undefined;
  const code = engineError?.code ?? 'internal';
  return {
    error: {
      message: error instanceof Error ? error.message : String(error),
      type: statuses[code]?.[1] ?? 'server_error',
      param: engineError?.field ?? null,
      code: code === 'context-length' ? 'context_length_exceeded' : code.replaceAll('-', '_'),
    },
  };
}
