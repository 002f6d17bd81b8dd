/** The command line as a user types it. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildCli } from '../../scripts/build_cli.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));

export type CliResult = { code: number; stdout: string; stderr: string };

/** Where the bundle of a test file lies: one of its own each, because files run side by side. */
export async function bundleCli(name: string): Promise<string> {
  const out = join(root, 'node_modules/.cache/sluice', name); // inside the project, where the bundle finds dawn.node
  await buildCli(root, out);
  return join(out, 'cli.mjs');
}

export function runCli(bundle: string, args: readonly string[]): Promise<CliResult> {
  return new Promise((resolve) => {
    execFile(process.execPath, [bundle, ...args], { maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code ?? 1) : 0, stdout, stderr });
    });
  });
}
