/**
 * npm run build: everything that Sluice hands out.
 *   dist/lib/sluice.js         the library, an ES module, with its declarations in dist/lib/types
 *   dist/lib/sluice-chat.js    the element <sluice-chat>, one file for one script tag
 *   dist/lib/sluice-prompt-api.js, sluice-ai-sdk.js, sluice-ai-sdk-transport.js   the adapters
 *   dist/lib/sluice-worker.js  the worker of all of them, one file
 *   dist/site                  the demo page, static, for any base path
 *   THIRD-PARTY-NOTICES.txt   in dist/lib and dist/site: licences of the libraries within
 *   dist/cli.mjs               the Node command line, one file; needs node and dawn.node only
 * `node scripts/build.mjs lib site cli` builds the parts named; no name means all.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';
import { buildCli } from './build_cli.mjs';
import { emitDeclarations } from './declarations.mjs';
import { gatherPackages, NOTICES, noticesText } from './notices.mjs';
import { shortShaders } from './wgsl.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const outLib = join(root, 'dist/lib');
/** Folders of the packages that the library's files take in. */
const bundled = new Set();
const parts = { lib: buildLibrary, site: buildSite, cli: buildCommandLine };

/** @param {string[]} names */
export async function buildParts(names = Object.keys(parts)) {
  for (const name of names) {
    if (!(name in parts)) throw new Error(`There is no part "${name}". Parts: ${Object.keys(parts).join(', ')}.`);
  }
  for (const name of names) await parts[name]();
}

async function buildLibrary() {
  rmSync(outLib, { recursive: true, force: true });
  await bundle({ entry: join(root, 'src/api/index.ts'), fileName: 'sluice.js', plugins: [libraryWorkerUrls()] });
  await bundle({ entry: join(root, 'src/element/index.ts'), fileName: 'sluice-chat.js', plugins: [libraryWorkerUrls()] });
  const adapters = join(root, 'src/adapters');
  await bundle({
    entry: join(adapters, 'prompt_api/index.ts'),
    fileName: 'sluice-prompt-api.js',
    plugins: [libraryWorkerUrls()],
  });
  await bundle({ entry: join(adapters, 'ai_sdk/index.ts'), fileName: 'sluice-ai-sdk.js' });
  await bundle({ entry: join(adapters, 'ai_sdk/transport.ts'), fileName: 'sluice-ai-sdk-transport.js', external: ['ai'] });
  await bundle({ entry: join(root, 'scripts/library_worker.js'), fileName: 'sluice-worker.js' });
  writeFileSync(join(outLib, NOTICES), noticesText(bundled));
  emitDeclarations(join(outLib, 'types'));
}

async function buildSite() {
  await build({ root, configFile: join(root, 'vite.config.ts'), logLevel: 'warn' });
}

async function buildCommandLine() {
  await buildCli(root, join(root, 'dist'));
}

/** One ES module of the library, without imports but those of `external` packages. */
async function bundle({ entry, fileName, plugins = [], external = [] }) {
  await build({
    root,
    configFile: false,
    logLevel: 'warn',
    plugins: [...plugins, shortShaders(), gatherPackages(bundled)],
    build: {
      outDir: outLib,
      emptyOutDir: false,
      copyPublicDir: false,
      target: 'es2022',
      sourcemap: true,
      lib: { entry, formats: ['es'], fileName: () => fileName },
      rolldownOptions: { external, output: { codeSplitting: false } },
    },
  });
}

/**
 * In the library there is one worker file in two roles, told apart by the name it is started with: one file to copy, to serve and
 * to name as `workerUrl`.
 * The token becomes a literal after vite has looked for assets, which this one is for the user's bundler only.
 */
function libraryWorkerUrls() {
  const token = '__SLUICE_WORKER_FILE__';
  const modules = {
    [join(root, 'src/api/worker_url.ts')]: [
      `export const engineWorkerUrl = () => new URL(${token}, import.meta.url);`,
      'export const textWorkerUrl = engineWorkerUrl;',
    ].join('\n'),
  };
  const used = new Set();
  return {
    name: 'sluice:library-worker-urls',
    enforce: 'pre',
    load(id) {
      if (id in modules) used.add(id);
      return modules[id];
    },
    renderChunk: {
      order: 'post',
      handler: (code) => ({ code: code.replaceAll(token, "'./sluice-worker.js'"), map: null }),
    },
    generateBundle() {
      if (used.size === 0) this.error(`${Object.keys(modules)} was not loaded: the build no longer knows where workers lie.`);
    },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const names = process.argv.slice(2);
  await buildParts(names.length > 0 ? names : undefined);
}
