/** Runs every kernel case on this browser's adapter; the test asks how far it is. */

import { kernelCases } from '../../src/cases/suite';
import { type Gpu, openGpu } from '../../src/gpu/device';

export type KernelRow = { title: string; failure?: string; skipped?: string };
export type KernelReport = {
  adapter: string;
  subgroups: boolean;
  f16: boolean;
  total: number;
  rows: KernelRow[];
  finished: boolean;
  /** Something outside the cases: no adapter, a lost device. */
  broken?: string;
};

declare global {
  interface Window {
    kernelReport?: KernelReport;
  }
}

/** Pipelines compile beside each other; more at once would only make one slow case look like many. */
const AT_ONCE = 4;

async function main(): Promise<void> {
  const gpu = await openGpu(navigator.gpu);
  const { vendor, architecture, description } = gpu.adapter;
  const report: KernelReport = {
    adapter: [vendor, architecture, description].filter(Boolean).join(' '),
    subgroups: gpu.subgroups,
    f16: gpu.f16,
    total: kernelCases.length,
    rows: [],
    finished: false,
  };
  window.kernelReport = report;
  void gpu.device.lost.then(({ message }) => {
    report.broken = `the device was lost: ${message}`;
  });
  gpu.device.addEventListener('uncapturederror', ({ error }) => {
    report.broken ??= `uncaptured: ${error.message}`;
  });
  const waiting = kernelCases.values();
  await Promise.all(Array.from({ length: AT_ONCE }, () => runAll(waiting, gpu, report)));
  report.finished = true;
}

async function runAll(waiting: Iterable<(typeof kernelCases)[number]>, gpu: Gpu, report: KernelReport): Promise<void> {
  for (const each of waiting) {
    report.rows.push({ title: `${each.kernel}: ${each.name} (${each.why})`, ...(await outcomeOf(each, gpu)) });
  }
}

async function outcomeOf(each: (typeof kernelCases)[number], gpu: Gpu): Promise<Omit<KernelRow, 'title'>> {
  try {
    const { error, tolerance, detail, skipped } = await each.run(gpu);
    if (skipped !== undefined) return { skipped };
    return error <= tolerance ? {} : { failure: `error ${error} is over ${tolerance}. ${detail}` }; // NaN is a failure too
  } catch (error) {
    return { failure: String(error) };
  }
}

main().catch((error: unknown) => {
  const nothing = { adapter: '', subgroups: false, f16: false, total: 0, rows: [], finished: true };
  window.kernelReport = { ...nothing, ...window.kernelReport, broken: String(error) };
});
