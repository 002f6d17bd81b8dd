import { expect, test } from 'vitest';
import { FairQueue } from '../../src/engine/queue';

test('one at a time, in order of arrival', async () => {
  const queue = new FairQueue();
  const log: string[] = [];
  const job = async (name: string) => {
    const release = await queue.enter();
    log.push(`${name} in`);
    await new Promise((resolve) => setTimeout(resolve, 5));
    log.push(`${name} out`);
    release();
  };
  await Promise.all([job('a'), job('b'), job('c')]);
  expect(log).toEqual(['a in', 'a out', 'b in', 'b out', 'c in', 'c out']);
});

test('a cancelled one leaves at once, and those behind it still wait for those before', async () => {
  const queue = new FairQueue();
  const first = await queue.enter();
  const controller = new AbortController();
  const second = queue.enter(controller.signal);
  let thirdIn = false;
  const third = queue.enter().then(() => {
    thirdIn = true;
  });
  controller.abort();
  await expect(second).rejects.toMatchObject({ name: 'AbortError' });
  await new Promise((resolve) => setTimeout(resolve, 5));
  expect(thirdIn).toBe(false);
  first();
  await third;
});

test('an already cancelled one never enters', async () => {
  await expect(new FairQueue().enter(AbortSignal.abort())).rejects.toMatchObject({ name: 'AbortError' });
});
