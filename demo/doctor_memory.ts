/** What the doctor leaves for its next visit, should the browser kill the tab: the step it was at, and what it had found by then. */
import type { Marker, Report } from '../src/doctor/report';

const MARKER_KEY = 'sluice.doctor.marker';
const REPORT_KEY = 'sluice.doctor.report';

/** Synchronous, because the tab may die in the next moment. */
export function keepMarker(marker: Marker): void {
  write(MARKER_KEY, JSON.stringify(marker));
}

export function forgetMarker(): void {
  write(MARKER_KEY, undefined);
}

/** The step at which a tab died, told once. */
export function takeMarker(): Marker | undefined {
  const marker = read<Marker>(MARKER_KEY);
  forgetMarker();
  return typeof marker?.check === 'string' && typeof marker.step === 'string' ? marker : undefined;
}

export function keepReport(report: Report): void {
  write(REPORT_KEY, JSON.stringify(report));
}

/** What the last visit found, whole or not. */
export function lastReport(): Report | undefined {
  const report = read<Report>(REPORT_KEY);
  return report?.sluice === 'doctor' && report.format === 1 ? report : undefined;
}

function read<T>(key: string): Partial<T> & T {
  try {
    return JSON.parse(localStorage.getItem(key) ?? 'null');
  } catch (error) {
    if (error instanceof DOMException || error instanceof SyntaxError) return null as never; // storage is off, or not ours
    throw error;
  }
}

function write(key: string, value: string | undefined): void {
  try {
    if (value === undefined) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch (error) {
    if (!(error instanceof DOMException)) throw error; // storage is off or full: there is nothing to leave it in
  }
}
