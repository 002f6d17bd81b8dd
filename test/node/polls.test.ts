/** Dawn's questions are spaced out; what others give to `setImmediate` runs as it always did. */
import { beforeAll, expect, test } from 'vitest';
import { openNodeGpu } from '../../src/node/open_gpu';

beforeAll(async () => void (await openNodeGpu()));

test("arguments of native functions arrive, in a promise's resolve as in a bound one", async () => {
  expect(await new Promise((resolve) => setImmediate(resolve, 42))).toBe(42);
  expect(await new Promise((resolve) => setImmediate(((a: number, b: number) => resolve(a + b)).bind(null, 3), 4))).toBe(7);
});

test('what is scheduled can be taken back', async () => {
  let ran = false;
  clearImmediate(
    setImmediate(() => {
      ran = true;
    }),
  );
  await new Promise<void>((resolve) => setImmediate(() => resolve()));
  expect(ran).toBe(false);
});
