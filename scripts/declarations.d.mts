/** Into `outDir`, which need not exist. @throws Error with what the compiler says */
export function emitDeclarations(outDir: string): void;
