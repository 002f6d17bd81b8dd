/** Numbers and names as the page shows them. Pure. */
import type { AdapterReport, LoadProgress } from '../src/api';

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];

/** Decimal units, as download sizes are given: 7_318_936 -> '7.3 MB'. */
export function formatBytes(bytes: number): string {
  const power = powerOf(bytes);
  const scaled = bytes / 1000 ** power;
  return `${scaled < 100 && power > 0 ? scaled.toFixed(1) : Math.round(scaled)} ${UNITS[power]}`;
}

/** 999,500 is shown as 1.0 MB, since 1000 kB would read badly. */
function powerOf(bytes: number): number {
  let power = 0;
  while (power + 1 < UNITS.length && bytes / 1000 ** power >= 999.5) power++;
  return power;
}

export function formatCount(count: number): string {
  return count.toLocaleString('en');
}

/** '–' where nothing was measured. */
export function formatRate(tokens: number, ms: number): string {
  if (!(tokens > 0) || !(ms > 0)) return '–';
  const rate = (tokens / ms) * 1000;
  return `${rate >= 100 ? Math.round(rate) : rate.toFixed(1)} tok/s`;
}

/** '4.0 of 7.3 MB': both in the unit of the total, so that the text keeps its width while it counts. */
export function formatProgressBytes({ loaded, total }: Pick<LoadProgress, 'loaded' | 'total'>): string {
  if (!(total > 0)) return '';
  const power = powerOf(total);
  const digits = power === 0 ? 0 : 1;
  const [done, all] = [loaded, total].map((bytes) => (bytes / 1000 ** power).toFixed(digits));
  return `${done} of ${all} ${UNITS[power]}`;
}

/** What the browser tells about the GPU: some give a description, some only vendor and architecture, some nothing. */
export function formatAdapter({ vendor, architecture, description, isCpu }: AdapterName): string {
  if (isCpu) return `${architecture || description || vendor || 'CPU'}, software adapter: speed means nothing`;
  return description || [vendor, architecture].filter(Boolean).join(' ') || 'GPU without a name';
}

type AdapterName = Pick<AdapterReport, 'vendor' | 'architecture' | 'description' | 'isCpu'>;
