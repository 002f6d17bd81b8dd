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

const TURNS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Without characters that turn the direction of what follows. */
const unturned = (text: string): string => text.replace(TURNS, '');

/** An error in its own words, in which names of files and a server's words may be. */
export const errorText = (error: unknown): string => unturned(error instanceof Error ? error.message : String(error));

/** A name from outside within a sentence, so that nothing around it changes its place whatever direction the name is written in. */
export function isolated(name: string): string {
  return /^[ -~]*$/.test(name) ? name : `\u2068${unturned(name)}\u2069`;
}

export function formatCount(count: number): string {
  return count.toLocaleString('en');
}

/** 0.134 -> '13 %'. A little is never nothing, and nearly all is never all. */
export function formatShare(share: number): string {
  if (share > 0 && share < 0.01) return '<1 %';
  return `${share < 1 ? Math.min(99, Math.round(share * 100)) : 100} %`;
}

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

/** Two figures at most: '0.4 ms', '34 ms', '2.1 s', '3 min', '1 h 20 min'. */
export function formatDuration(ms: number): string {
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 9.95 * SECOND) return `${(ms / SECOND).toFixed(1)} s`;
  if (ms < 89.5 * SECOND) return `${Math.round(ms / SECOND)} s`;
  if (ms < 89.5 * MINUTE) return `${Math.round(ms / MINUTE)} min`;
  const minutes = Math.round(ms / MINUTE / 10) * 10;
  const hours = Math.floor(minutes / 60);
  return hours >= 10 || minutes % 60 === 0 ? `${formatCount(Math.round(ms / HOUR))} h` : `${hours} h ${minutes % 60} min`;
}

/** '48 MB/s'. */
export function formatSpeed(bytesPerSecond: number): string {
  return `${formatBytes(bytesPerSecond)}/s`;
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
