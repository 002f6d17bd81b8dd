import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'vite';

/** Bundles the worker entry into one file, as the command line is bundled; Node 20 cannot run TypeScript in a thread. */
export async function bundleTextWorker(
  entry = new URL('./worker_entry.ts', import.meta.url),
): Promise<{ url: URL; remove(): void }> {
  const outDir = mkdtempSync(join(tmpdir(), 'sluice-text-worker-'));
  await build({
    configFile: false,
    logLevel: 'error',
    ssr: { noExternal: true },
    build: {
      ssr: fileURLToPath(entry),
      outDir,
      emptyOutDir: true,
      rolldownOptions: { output: { entryFileNames: 'worker.mjs' } },
    },
  });
  return { url: pathToFileURL(join(outDir, 'worker.mjs')), remove: () => rmSync(outDir, { recursive: true, force: true }) };
}
