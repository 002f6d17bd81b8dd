/** One number over the whole load: never falls, and is not near its end while bytes are still to come. */
import { expect, test } from 'vitest';
import { ProgressMeter } from '../../src/engine/progress';

function meter() {
  const seen: string[] = [];
  return { meter: new ProgressMeter(({ phase, progress }) => seen.push(`${phase} ${progress.toFixed(2)}`)), seen };
}
const download = { totalBytes: 100, fetchedBytes: 0, hashedBytes: 0, hashBytes: 0 };

test('a load is ready at the end of its weights and pipelines', () => {
  const { meter: progress, seen } = meter();
  progress.session({ phase: 'weights', loaded: 50, total: 100 });
  progress.session({ phase: 'weights', loaded: 100, total: 100 });
  progress.session({ phase: 'pipelines' });
  progress.ready();
  expect(seen).toEqual(['weights 0.46', 'weights 0.90', 'pipelines 0.92', 'ready 1.00']);
});

test('where weights are still to come, compiling takes the share no further', () => {
  const { meter: progress, seen } = meter();
  progress.session({ phase: 'weights', loaded: 10, total: 100 });
  progress.session({ phase: 'pipelines' });
  progress.session({ phase: 'weights', loaded: 50, total: 100 });
  progress.ready();
  expect(seen).toEqual(['weights 0.11', 'pipelines 0.11', 'weights 0.46', 'ready 1.00']);
});

test('nor while a download goes on, which is reported until all is there', () => {
  const { meter: progress, seen } = meter();
  progress.download({ ...download, state: 'downloading', storedBytes: 20 });
  progress.session({ phase: 'pipelines' });
  progress.download({ ...download, state: 'downloading', storedBytes: 50 });
  progress.download({ ...download, state: 'complete', storedBytes: 100 });
  progress.ready();
  expect(seen).toEqual(['download 0.20', 'pipelines 0.20', 'download 0.46', 'download 0.90', 'ready 1.00']);
});
