export type BuildPart = 'lib' | 'site' | 'cli';

export function buildParts(names?: BuildPart[]): Promise<void>;
