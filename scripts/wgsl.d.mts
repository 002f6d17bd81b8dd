import type { Plugin } from 'vite';

/** A shader without comments and indentation, line for line. */
export function withoutComments(source: string): string;

/** Takes comments and indentation out of the shaders of a build. */
export function shortShaders(): Plugin;
