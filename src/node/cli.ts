/** The command line: `score` and `generate`. The same file serves as text worker when it is started as one. */
import { fileURLToPath } from 'node:url';
import { EngineError } from '../errors';
import { generate } from './generate';
import { score } from './score';
import { serveTextWorker } from './text_worker_spawn';

const usage = 'Usage: score | generate, each with its options; run one without options to see them.';

async function main([command, ...args]: readonly string[]): Promise<void> {
  if (command === 'score') return score(args);
  if (command === 'generate') return generate(args, fileURLToPath(import.meta.url));
  throw new EngineError('invalid-request', command === undefined ? usage : `'${command}' is not a command. ${usage}`);
}

/** Whoever reads our output may have enough: `generate … | head`. */
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

if (!serveTextWorker()) {
  main(process.argv.slice(2)).then(
    () => process.exit(0), // Dawn's threads would keep the process alive
    (error: unknown) => {
      console.error(`sluice: ${error instanceof EngineError ? error.message : `internal error: ${String(error)}`}`);
      if (process.env.SLUICE_DEBUG) console.error(error);
      process.exit(1);
    },
  );
}
