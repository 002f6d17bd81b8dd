/** Shaders as they are handed out: comments and indentation are for their readers, and a quarter of what a first visit loads. */
import { readFileSync } from 'node:fs';

/** Lines keep their numbers, so that what a compiler says of one still leads to its place in `wgsl/`. WGSL has no strings. */
export function withoutComments(source) {
  return source.replace(/[ \t]*\/\/.*|^[ \t]+|[ \t]+$/gm, '');
}

/** @returns {import('vite').Plugin} */
export function shortShaders() {
  return {
    name: 'sluice:short-shaders',
    apply: 'build',
    enforce: 'pre',
    load(id) {
      const [, path] = /^(.*\.wgsl)\?raw$/.exec(id) ?? [];
      return path && `export default ${JSON.stringify(withoutComments(readFileSync(path, 'utf8')))};`;
    },
  };
}
