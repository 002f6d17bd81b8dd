import type { Plugin } from 'vite';

/** The file's name, in the folder of what is built. */
export const NOTICES: string;

/** Adds to `packages` the folder of each package that is bundled. */
export function gatherPackages(packages: Set<string>): Plugin;

/** Writes the notices of `packages` beside what is built. */
export function emitNotices(packages: Set<string>): Plugin;

/** Name, version and licence text of each. @throws Error where a package has none */
export function noticesText(packages: Iterable<string>): string;
