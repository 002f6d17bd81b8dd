import { type Gpu, openGpu } from '../../src/gpu/device';
import { submittedWorkDone } from '../../src/gpu/readback';
import { type UploadCase, uploadCases } from '../stream/upload_cases';

export type UploadRow = { title: string; ms: number; failure?: string };
/** `broken`: something outside the cases. */
/** `waitMs`: each of several waits for an empty submit, in turn. */
export type UploadReport = { rows: UploadRow[]; waitMs: number[]; broken?: string };

async function main(): Promise<UploadReport> {
  const report: UploadReport = { rows: [], waitMs: [] };
  const open = async () => {
    const gpu = await openGpu(navigator.gpu);
    gpu.device.addEventListener('uncapturederror', ({ error }) => {
      report.broken ??= `uncaptured: ${error.message}`;
    });
    return gpu;
  };
  const shared = await open();
  for (let i = 0; i < 15; i++) {
    const start = performance.now();
    shared.device.queue.submit([]);
    await submittedWorkDone(shared);
    report.waitMs.push(performance.now() - start);
  }
  for (const kind of ['mapped', 'write'] as const) {
    for (const each of uploadCases) {
      const start = performance.now();
      const failure = await failureOf(each, kind, each.loses ? await open() : shared);
      report.rows.push({ title: `${kind}: ${each.name}`, ms: performance.now() - start, failure });
    }
  }
  return report;
}

async function failureOf(each: UploadCase, kind: 'mapped' | 'write', gpu: Gpu): Promise<string | undefined> {
  try {
    await each.run(kind, gpu);
    return undefined;
  } catch (error) {
    return String(error);
  }
}

main()
  .catch((error: unknown): UploadReport => ({ rows: [], waitMs: [], broken: String(error) }))
  .then((report) => self.postMessage(report));
