/** Runs the kernel cases on this browser's adapter, `?few` of them or all; the test asks how far it is. */

import type { KernelCase } from '../../src/cases/harness';
import { kernelCases } from '../../src/cases/suite';
import { runCases } from '../../src/doctor/run_cases';
import { openGpu } from '../../src/gpu/device';

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

const FAMILY = /\b(?:direct|workgroup|subgroups|int8|int16|int24|f16 tiles)\b/;

/** The first case of each family of variants that a kernel has. */
function firstOfEach(cases: readonly KernelCase[]): KernelCase[] {
  const familyOf = ({ kernel, name }: KernelCase) => `${kernel} ${FAMILY.exec(name)?.[0] ?? ''}`;
  return [...new Map(cases.map((each) => [familyOf(each), each] as const).reverse()).values()].reverse();
}

async function main(): Promise<void> {
  const gpu = await openGpu(navigator.gpu);
  const cases = new URL(location.href).searchParams.has('few') ? firstOfEach(kernelCases) : kernelCases;
  const { vendor, architecture, description } = gpu.adapter;
  const report: KernelReport = {
    adapter: [vendor, architecture, description].filter(Boolean).join(' '),
    subgroups: gpu.subgroups,
    f16: gpu.f16,
    total: cases.length,
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
  await runCases(gpu, cases, ({ case: { kernel, name, why }, ...outcome }) => {
    report.rows.push({ title: `${kernel}: ${name} (${why})`, ...outcome });
  });
  report.finished = true;
}

main().catch((error: unknown) => {
  const nothing = { adapter: '', subgroups: false, f16: false, total: 0, rows: [], finished: true };
  window.kernelReport = { ...nothing, ...window.kernelReport, broken: String(error) };
});
