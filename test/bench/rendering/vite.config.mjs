/** The page as one static folder, dist/bench-rendering, that needs no network. */
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';
import { shortShaders } from '../../../scripts/wgsl.mjs';

export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  base: './',
  build: {
    outDir: fileURLToPath(new URL('../../../dist/bench-rendering', import.meta.url)),
    emptyOutDir: true,
    target: 'es2022',
    modulePreload: false,
  },
  worker: { format: 'es', plugins: () => [shortShaders()] },
  logLevel: 'warn',
});
