/**
 * A reporter of vitest's for what belongs to no test: a worker process that died, a rejection that nobody waited for. Written as a list of
 * texts to the file that SLUICE_UNHANDLED_ERRORS names; the files whose tests never ended are named with it, as vitest does not.
 */
import { writeFileSync } from 'node:fs';

export default class UnhandledErrors {
  onTestRunEnd(modules, errors) {
    if (errors.length === 0) return;
    const unended = modules.filter((module) => ['pending', 'queued'].includes(module.state())).map(({ moduleId }) => moduleId);
    const texts = errors.map(textOf);
    if (unended.length > 0) texts.push(`never ended: ${unended.join(', ')}`);
    writeFileSync(process.env.SLUICE_UNHANDLED_ERRORS, JSON.stringify(texts));
  }
}

function textOf({ type = 'error', message, stack = message, cause, VITEST_TEST_PATH: file }) {
  const lines = [`${type}${file ? ` in ${file}` : ''}: ${stack}`];
  if (cause) lines.push(`because of: ${cause.stack ?? cause.message ?? cause}`);
  return lines.join('\n');
}
