import { writeFile } from 'node:fs/promises';
import { EngineError } from '../errors';

/** What `bench --json` keeps. Without a path nothing. @throws EngineError 'storage'. */
export async function keep(path: string | undefined, result: object): Promise<void> {
  if (path === undefined) return;
  await writeFile(path, `${JSON.stringify(result, null, 2)}\n`).catch((cause: Error) => {
    throw new EngineError('storage', `--json: ${path} cannot be written (${cause.message.split(':')[0]}).`);
  });
}
