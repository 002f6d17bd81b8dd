/** The command line: `score`, `generate`, `synth` and `bench`. The same file serves as text worker when it is started as one. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { EngineError } from '../errors';
import { bench } from './bench';
import { generate } from './generate';
import { score } from './score';
import { synth } from './synth';
import { serveTextWorker } from './text_worker_spawn';

const usage = 'Usage: score | generate | synth | bench, each with its options; run one without options to see them.';

async function main([command, ...args]: readonly string[]): Promise<void> {
  if (command === 'score') return score(args);
  if (command === 'synth') return synth(args);
  if (command === 'bench') return bench(args);
  if (command === 'generate') return generate(args, fileURLToPath(import.meta.url));
  throw new EngineError('invalid-request', command === undefined ? usage : `'${command}' is not a command. ${usage}`);
}

/**
 * Node reads files through a pool of four threads unless told otherwise before it starts, and loading a module starts it. Reading
 * page-cached weights scales with threads, so what loads a model runs in a child with more of them.
 */
function restarted(): boolean {
  if (process.env.UV_THREADPOOL_SIZE !== undefined || !['score', 'generate', 'bench'].includes(process.argv[2] ?? ''))
    return false;
  const env = { ...process.env, UV_THREADPOOL_SIZE: '16' };
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], { env, stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => process.exit(code ?? (signal ? 1 : 0)));
  return true;
}

/** Whoever reads our output may have enough: `generate … | head`. */
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

if (!serveTextWorker() && !restarted()) {
  main(process.argv.slice(2)).then(
    () => process.exit(), // Dawn's threads would keep the process alive
    (error: unknown) => {
      console.error(`sluice: ${error instanceof EngineError ? error.message : `internal error: ${String(error)}`}`);
      if (process.env.SLUICE_DEBUG) console.error(error);
      process.exit(1);
    },
  );
}
