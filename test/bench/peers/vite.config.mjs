/** The page as one static folder, dist/bench-peers, that needs no network. Sluice's own packages come from the repository's root. */
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';

/** The packages are large, so building takes seconds. */
const quiet = { checks: { pluginTimings: false } };

export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  base: './',
  build: {
    outDir: fileURLToPath(new URL('../../../dist/bench-peers', import.meta.url)),
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0,
    rolldownOptions: quiet,
  },
  worker: { format: 'es', rolldownOptions: quiet },
  logLevel: 'warn',
});
