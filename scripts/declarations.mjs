/** The package's declarations, as dist/lib/types has them: for users' compilers, and for the reference that is made from them. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('..', import.meta.url));

/** `check`: whether types are checked too. @param {string} outDir @throws Error with what the compiler says */
export function emitDeclarations(outDir, { check = true } = {}) {
  const config = ts.getParsedCommandLineOfConfigFile(
    join(root, 'tsconfig.build.json'),
    { outDir },
    { ...ts.sys, onUnRecoverableConfigFileDiagnostic: fail },
  );
  const program = ts.createProgram(config.fileNames, config.options);
  const { diagnostics } = program.emit();
  const problems = [...(check ? ts.getPreEmitDiagnostics(program) : []), ...diagnostics];
  if (problems.length > 0) fail(...problems);
  for (const file of readdirSync(outDir, { recursive: true, encoding: 'utf8' })) {
    if (file.endsWith('.d.ts')) completePaths(join(outDir, file));
  }
}

/** Node's own resolution (TypeScript's `nodenext`) wants `./x.js` or `./x/index.js` where our sources, made for a bundler, say `./x`. */
function completePaths(file) {
  const text = readFileSync(file, 'utf8');
  const complete = text.replace(/((?:from|import\()\s*['"])(\.{1,2}(?:\/[^'"]+)?)(?=['"])/g, (whole, start, path) => {
    const at = resolve(dirname(file), path);
    if (existsSync(`${at}.d.ts`)) return `${start}${path}.js`;
    return existsSync(join(at, 'index.d.ts')) ? `${start}${path}/index.js` : whole;
  });
  writeFileSync(file, complete);
}

function fail(...diagnostics) {
  const host = { getCanonicalFileName: (name) => name, getCurrentDirectory: () => root, getNewLine: () => '\n' };
  throw new Error(ts.formatDiagnostics(diagnostics, host));
}
