/** Budgets along a slider: equal steps are equal ratios, because the first gigabyte matters more than the tenth. Pure. */
import { parseByteBudget } from '../src/api';
import type { Parsed } from './model_choice';

/** From the smallest budget that works to what holds the whole model, bytes. */
export type BudgetScale = { least: number; most: number };

export const SLIDER_STEPS = 400;

/** `fits`: of a plan for everything; `smallest`: what that plan says would just do. Whole figures, so that the ends can be read. */
export function budgetScale({ smallest, fits }: { smallest: number; fits: number }): BudgetScale {
  const least = roundUp(smallest, 4);
  return { least, most: Math.max(least, roundUp(fits, 3)) };
}

/** Bytes at a slider position, in figures that a person would write. */
export function budgetAt({ least, most }: BudgetScale, step: number): number {
  if (step <= 0) return least;
  if (step >= SLIDER_STEPS) return most;
  const bytes = least * (most / least) ** (step / SLIDER_STEPS);
  return Math.min(most, Math.max(least, Number(bytes.toPrecision(3))));
}

/** The nearest position; budgets beyond an end are at that end. */
export function stepOf({ least, most }: BudgetScale, bytes: number): number {
  if (most <= least) return bytes < least ? 0 : SLIDER_STEPS;
  const step = Math.round((SLIDER_STEPS * Math.log(bytes / least)) / Math.log(most / least));
  return Math.min(SLIDER_STEPS, Math.max(0, step));
}

/** Never below `bytes`: a budget rounded down would be refused. */
function roundUp(bytes: number, digits: number): number {
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(bytes)) + 1 - digits);
  return Math.ceil(bytes / unit) * unit;
}

const UNITS = [
  { name: 'GB', bytes: 1e9 },
  { name: 'MB', bytes: 1e6 },
  { name: 'kB', bytes: 1e3 },
];

/** Exact, and read back by `parseBudget` as the same number: 4_270_000_000 -> '4.27 GB'. */
export function budgetText(bytes: number): string {
  const unit = UNITS.find((entry) => bytes >= entry.bytes);
  const text = unit ? `${bytes / unit.bytes} ${unit.name}` : '';
  return parseByteBudget(text) === bytes ? text : `${bytes} B`;
}

/** An empty text is no budget of one's own: the engine then chooses. */
export function parseBudget(text: string): Parsed<number | undefined> {
  if (text.trim() === '') return { value: undefined };
  const value = parseByteBudget(text);
  return value === undefined ? { message: 'Write a size such as 4 GB, 512 MB or 1.5 GiB.' } : { value };
}
