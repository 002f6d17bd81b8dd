/** A static host on a slow line: weights come at a rate that a test sets, everything else at once. */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import type { TestServer } from './servers';

/** The pieces that a rate is made of, per second. */
const PIECES_PER_SECOND = 20;

export type SlowServer = Pick<TestServer, 'url' | 'close'> & {
  /** Of each connection. */
  bytesPerSecond: number;
  /** Bytes of weights that went out. */
  sentBytes: number;
};

/** `upstream`: a server that knows the files; ranges of weights are read through it and sent on slowly. */
export async function slowDown(upstream: TestServer, bytesPerSecond: number): Promise<SlowServer> {
  const server = createServer(async (request, response) => {
    const { range } = request.headers;
    const answer = await fetch(new URL(request.url!.slice(1), upstream.url), {
      method: request.method ?? 'GET',
      headers: range ? { range } : {},
    });
    const headers = [...answer.headers].filter(([name]) => !['connection', 'keep-alive', 'transfer-encoding'].includes(name));
    response.writeHead(answer.status, Object.fromEntries(headers));
    const body = new Uint8Array(await answer.arrayBuffer());
    if (request.url!.endsWith('.safetensors')) await trickle(response, body, slow);
    else response.end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const slow: SlowServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    bytesPerSecond,
    sentBytes: 0,
    close() {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
  return slow;
}

async function trickle(response: ServerResponse, body: Uint8Array, slow: SlowServer): Promise<void> {
  for (let offset = 0; offset < body.length && !response.destroyed; ) {
    const piece = body.subarray(offset, offset + Math.max(1, Math.ceil(slow.bytesPerSecond / PIECES_PER_SECOND)));
    response.write(piece);
    slow.sentBytes += piece.length;
    offset += piece.length;
    await wait(1000 / PIECES_PER_SECOND);
  }
  response.end();
}
