import type { Plugin } from 'vite';

/** Manifest, icons and service worker of the built page. */
export function offline(): Plugin;
