/** Bodies as they come: through one buffer where they are byte streams, and as the browser cuts them where they are not. */
import { expect, test } from 'vitest';
import { eachChunk } from '../../src/storage/http_request';

const bytes = Uint8Array.from({ length: 700_000 }, (_, i) => (i * 7) % 251);
const guard = <T>(work: Promise<T>): Promise<T> => work;

function bodyOf(type: 'bytes' | undefined): Response {
  let at = 0;
  const pull = (controller: ReadableStreamDefaultController<Uint8Array> | ReadableByteStreamController) => {
    if (at === bytes.byteLength) {
      controller.close();
      if ('byobRequest' in controller) controller.byobRequest?.respond(0); // a stream made by hand has to answer what waits
      return;
    }
    controller.enqueue(bytes.slice(at, at + 100_000));
    at += 100_000;
  };
  return new Response(type ? new ReadableStream({ type, pull }) : new ReadableStream({ pull }));
}

async function read(response: Response): Promise<{ body: Uint8Array; views: Uint8Array[] }> {
  const parts: Uint8Array[] = [];
  const views: Uint8Array[] = [];
  await eachChunk({ response, guard }, (chunk) => {
    parts.push(chunk.slice());
    views.push(chunk);
  });
  return { body: Buffer.concat(parts), views };
}

test('a byte stream passes through one buffer, which the next body uses again', async () => {
  for (let i = 0; i < 3; i++) {
    const { body, views } = await read(bodyOf('bytes'));
    expect(Buffer.compare(body, bytes)).toBe(0);
    expect(views.length).toBeGreaterThan(1);
    // Each read takes the buffer away from the view before it.
    expect(views.every(({ byteLength }) => byteLength === 0)).toBe(true);
  }
});

test('any other stream is read all the same', async () => {
  const { body } = await read(bodyOf(undefined));
  expect(Buffer.compare(body, bytes)).toBe(0);
});

test('what take throws ends the reading', async () => {
  for (const type of ['bytes', undefined] as const) {
    const failing = eachChunk({ response: bodyOf(type), guard }, () => {
      throw new Error('enough');
    });
    await expect(failing).rejects.toThrow('enough');
  }
  expect(Buffer.compare((await read(bodyOf('bytes'))).body, bytes)).toBe(0);
});
