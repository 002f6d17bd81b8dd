import { join } from 'node:path';
import { build } from 'vite';

/** Bundles src/node/cli.ts into `outDir`/cli.mjs: one file that needs only node and a dawn.node. */
export async function buildCli(root, outDir) {
  await build({
    root,
    configFile: false,
    logLevel: 'warn',
    ssr: { noExternal: true, target: 'node' },
    build: {
      ssr: join(root, 'src/node/cli.ts'),
      outDir,
      emptyOutDir: false,
      copyPublicDir: false,
      target: 'node20',
      minify: false,
      rolldownOptions: { output: { entryFileNames: 'cli.mjs', format: 'es', codeSplitting: false } },
    },
  });
}
