/** Before the browser tests: one fresh build of what they load, so that nobody tests yesterday's. */
import { buildParts } from '../../scripts/build.mjs';

export default async function setup(): Promise<void> {
  await buildParts(['lib', 'site']);
}
