/**
 * Runs the command line from source: bundles src/node/cli.ts when something changed, then hands over. `npm run build` makes
 * the same file as dist/cli.mjs.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildCli } from './build_cli.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const cache = join(root, 'node_modules', '.cache', 'sluice');
const bundle = join(cache, 'cli.mjs');

function newest(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((latest, entry) => Math.max(latest, statSync(join(entry.parentPath, entry.name)).mtimeMs), 0);
}

if (
  !existsSync(bundle) ||
  statSync(bundle).mtimeMs < Math.max(...['src', 'wgsl', 'scripts'].map((folder) => newest(join(root, folder))))
) {
  mkdirSync(cache, { recursive: true });
  const fresh = mkdtempSync(join(cache, 'build-')); // two commands may start at once: each builds, the last rename wins
  await buildCli(root, fresh);
  renameSync(join(fresh, 'cli.mjs'), bundle);
  rmSync(fresh, { recursive: true });
}
await import(bundle);
