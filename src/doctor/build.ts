declare const SLUICE_BUILD: string | undefined;

/** Version and commit, where the bundler was told (vite.config.ts). */
export const build: string = typeof SLUICE_BUILD === 'string' ? SLUICE_BUILD : 'from source';
