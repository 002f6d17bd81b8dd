export type Outside = { residentBytes: number; processBytes: number | null; deviceBytes: number | null };
export function usedBytes(): Promise<number | null>;
export function listedBytes(text: string, pid: number): number | null;
export function watch(pid: number, before: number | null, ended: Promise<unknown>): Promise<Outside>;
