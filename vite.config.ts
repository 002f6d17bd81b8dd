/**
 * Dev server, demo site and test projects. `vite` serves the pages as they are; `vite build` writes dist/site, which works under any
 * path; the library and the command line are built by scripts/build.mjs.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';
import { emitNotices, gatherPackages } from './scripts/notices.mjs';
import { offline } from './scripts/offline.mjs';
import { shortShaders } from './scripts/wgsl.mjs';

const root = fileURLToPath(new URL('.', import.meta.url));

/** Folders of test/ that open a Dawn device, so that `--project unit` needs no Vulkan driver. */
const dawnTests = ['gpu', 'kernels', 'model', 'engine', 'bench', 'node'].map((folder) => `test/${folder}/**/*.test.ts`);
/** Languages that demo/markdown/code_block.ts colours. */
const HIGHLIGHTED = 'bash c cpp css diff go java javascript json markdown python rust sql typescript xml yaml'.split(' ');
/** Folders of the packages that the pages and their workers take in. */
const bundled = new Set<string>();
const browserTests = ['test/browser/**/*.test.ts'];
/** Those that hold times to a bound, and so want the machine for themselves. */
const timedDawnTests = ['bench/timestamps', 'engine/speeds', 'node/open_gpu'].map((name) => `test/${name}.test.ts`);
/** Likewise, or that hold the memory of a moment, or kill a page at one. */
const timedBrowserTests = 'chat chat_reload chat_size chat_tasks markdown_speed start_up streaming_memory streaming_time'
  .split(' ')
  .map((name) => `test/browser/${name}.test.ts`);

export default defineConfig({
  base: './',
  build: {
    outDir: 'dist/site',
    emptyOutDir: true,
    target: 'es2022',
    rolldownOptions: {
      input: ['index.html', ...['embed', 'doctor', 'bench', 'safari'].map((page) => `demo/${page}.html`)].map((page) =>
        join(root, page),
      ),
    },
  },
  define: { SLUICE_BUILD: JSON.stringify(buildName()) },
  worker: { format: 'es', plugins: () => [shortShaders(), gatherPackages(bundled)] },
  // Named, so that a first visit with an empty cache does not reload the page when the server meets them.
  optimizeDeps: {
    include: [
      ...[
        'eventsource-parser/stream',
        'comlink',
        '@huggingface/jinja',
        '@huggingface/tokenizers',
        '@mlc-ai/web-xgrammar',
        'hash-wasm',
        'hash-wasm/dist/sha256.umd.min.js',
        'idb-keyval',
      ],
      ...['openai', 'ai', 'zod'],
      ...['markdown-it', 'lowlight', 'temml', 'dompurify'],
      ...HIGHLIGHTED.map((language) => `highlight.js/lib/languages/${language}`),
    ],
  },
  // One port for one checkout would be an error for the second; vite takes the next free one.
  server: { strictPort: false },
  plugins: [copyBundledModel(), keepRenderBlocking(), offline(), gatherPackages(bundled), emitNotices(bundled)],
  test: {
    watch: false,
    testTimeout: 20_000,
    hookTimeout: 120_000,
    // Two cores: more workers than that only make timeouts likelier.
    maxWorkers: 2,
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: [...dawnTests, ...browserTests],
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'dawn',
          include: dawnTests,
          exclude: timedDawnTests,
          testTimeout: 120_000,
          // A process per file, because Dawn never gives back what a file held. Two at a time: one compiles, on one thread, while the
          // other computes.
          pool: 'forks',
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: 'dawn-timed',
          include: timedDawnTests,
          testTimeout: 120_000,
          pool: 'forks',
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
      {
        extends: true,
        test: {
          name: 'browser',
          include: browserTests,
          exclude: timedBrowserTests,
          testTimeout: 300_000,
          globalSetup: 'test/browser/setup.ts',
          sequence: { groupOrder: 3 },
        },
      },
      {
        extends: true,
        test: {
          name: 'browser-timed',
          include: timedBrowserTests,
          testTimeout: 300_000,
          fileParallelism: false,
          globalSetup: 'test/browser/setup.ts',
          sequence: { groupOrder: 4 },
        },
      },
    ],
  },
});

/** What a report is made with: version, and the commit where git knows it. */
function buildName(): string {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  const { stdout } = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' });
  return [version, stdout?.trim()].filter(Boolean).join(' ');
}

/** Pages read the model by URL at run time, so no import tells the bundler of it. */
function copyBundledModel(): Plugin {
  return {
    name: 'sluice:bundled-model',
    apply: 'build',
    writeBundle({ dir }) {
      cpSync(join(root, 'demo/model'), join(dir!, 'demo/model'), { recursive: true });
    },
  };
}

/**
 * Vite writes a page's script element anew and forgets this attribute, without which a stored dark theme flashes light. The page that
 * embeds has no theme.
 */
function keepRenderBlocking(): Plugin {
  return {
    name: 'sluice:render-blocking',
    apply: 'build',
    transformIndexHtml: {
      order: 'post',
      handler: (html, { path }) =>
        path === '/demo/embed.html' ? html : html.replace('<script type="module"', '$& blocking="render"'),
    },
  };
}
