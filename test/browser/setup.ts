/**
 * Before the browser tests: one fresh build of what they load, so that nobody tests yesterday's, and the packages as dev servers give them, so
 * that two servers which start at once do not both write them.
 */
import { buildParts } from '../../scripts/build.mjs';
import { DEV_CACHE, startDevServer } from './servers';

export default async function setup(): Promise<void> {
  if (process.env.SLUICE_BUILT) return; // by the other project of browser tests, in this run
  await buildParts(['lib', 'site']);
  await bundlePackages();
  process.env.SLUICE_BUILT = '1';
}

async function bundlePackages(): Promise<void> {
  const server = await startDevServer();
  try {
    const { status } = await fetch(`${server.url}${DEV_CACHE}/deps/comlink.js`); // answered when all of them are there
    if (status !== 200) throw new Error(`The dev server gave status ${status} for a package.`);
  } finally {
    await server.close();
  }
}
