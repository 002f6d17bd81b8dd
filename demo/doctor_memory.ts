/** What the doctor leaves for its next visit, should the browser kill the tab: the step it was at, and what it had found by then. */
import type { Marker, Report } from '../src/doctor/report';
import { readItem, writeItem } from './settings';

const MARKER_KEY = 'sluice.doctor.marker';
const REPORT_KEY = 'sluice.doctor.report';

/** Synchronous, because the tab may die in the next moment. */
export function keepMarker(marker: Marker): void {
  writeItem(MARKER_KEY, JSON.stringify(marker));
}

export function forgetMarker(): void {
  writeItem(MARKER_KEY, null);
}

/** The step at which a tab died, told once. */
export function takeMarker(): Marker | undefined {
  const marker = read<Marker>(MARKER_KEY);
  forgetMarker();
  return typeof marker?.check === 'string' && typeof marker.step === 'string' ? marker : undefined;
}

export function keepReport(report: Report): void {
  writeItem(REPORT_KEY, JSON.stringify(report));
}

/** What the last visit found, whole or not. */
export function lastReport(): Report | undefined {
  const report = read<Report>(REPORT_KEY);
  return report?.sluice === 'doctor' && report.format === 1 ? report : undefined;
}

function read<T>(key: string): T | undefined {
  try {
    return JSON.parse(readItem(key) ?? 'null') ?? undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined; // not ours
    throw error;
  }
}
