/** Into `outDir`, which need not exist. `check`, default true: whether types are checked too. @throws Error with what the compiler says */
export function emitDeclarations(outDir: string, options?: { check?: boolean }): void;
