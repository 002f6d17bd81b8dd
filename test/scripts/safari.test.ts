/** `npm run test:safari` where there is no Safari: it must never look like a success. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const script = join(import.meta.dirname, '../../scripts/safari.mjs');

test.skipIf(process.platform === 'darwin')('elsewhere than on a Mac it says that nothing was run', () => {
  const { status, stderr, stdout } = spawnSync(process.execPath, [script], { encoding: 'utf8' });
  expect({ status, stderr, stdout }).toEqual({ status: 2, stderr: expect.stringMatching(/^not run: .*Mac/), stdout: '' });
});

test('with a driver that is not there neither', () => {
  const env = { ...process.env, SLUICE_WEBDRIVER: '/nowhere/driver' };
  const { status, stderr } = spawnSync(process.execPath, [script], { encoding: 'utf8', env });
  expect({ status, stderr: stderr.trim() }).toEqual({ status: 2, stderr: 'not run: there is no /nowhere/driver' });
});
