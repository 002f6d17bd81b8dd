import { expect, test } from 'vitest';
import { AtMost } from '../../src/stream/at_most';

/** Work that ends when it is told to. */
function held() {
  let end!: (error?: Error) => void;
  const promise = new Promise<void>((resolve, reject) => {
    end = (error) => (error ? reject(error) : resolve());
  });
  return { promise, end };
}

const settle = () => new Promise((resolve) => setTimeout(resolve));

test('as many at once as it says, the others in the order of asking, and a failure gives its place on', async () => {
  const limit = new AtMost(2);
  const work = Array.from({ length: 5 }, held);
  const started: number[] = [];
  const runs = work.map(({ promise }, i) =>
    limit.run(() => {
      started.push(i);
      return promise;
    }),
  );
  for (const run of runs) run.catch(() => {});
  await settle();
  expect(started).toEqual([0, 1]);
  work[1]!.end(new Error('failed'));
  await expect(runs[1]).rejects.toThrow('failed');
  await settle();
  expect(started).toEqual([0, 1, 2]);
  for (const { end } of work) end();
  await Promise.allSettled(runs);
  expect(started).toEqual([0, 1, 2, 3, 4]);
  const again = limit.run(async () => 'free again');
  expect(await again).toBe('free again');
});
