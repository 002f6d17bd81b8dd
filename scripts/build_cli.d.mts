export function buildCli(root: string, outDir: string): Promise<void>;
