import type { ByteBudget } from '../protocol/plan';

const UNITS: Record<string, number> = {
  '': 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
};

/** Bytes of '4GB' (4 * 10^9), '1.5 GiB' (1.5 * 2^30) or a plain number, to the nearest byte; undefined for what is no budget. */
export function parseByteBudget(budget: ByteBudget): number | undefined {
  if (typeof budget === 'number') return wholeBytes(budget);
  const [, number, unit] = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(budget) ?? [];
  const bytesPerUnit = UNITS[unit?.toLowerCase() ?? ''];
  return number === undefined || bytesPerUnit === undefined ? undefined : wholeBytes(Math.round(Number(number) * bytesPerUnit));
}

function wholeBytes(bytes: number): number | undefined {
  return Number.isSafeInteger(bytes) && bytes > 0 ? bytes : undefined;
}
