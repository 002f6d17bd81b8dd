/** Kernel cases one after another, told as they end; the page of the browser tests runs them through the same code. */
import type { KernelCase } from '../cases/harness';
import type { Gpu } from '../gpu/device';

export type CaseRow = { case: KernelCase; failure?: string; skipped?: string };

/** Pipelines compile beside each other; more at once would only make one slow case look like many. */
const AT_ONCE = 4;

/** Ends early, with nothing said of the cases that were not run, once the device is lost. */
export async function runCases(
  gpu: Gpu,
  cases: readonly KernelCase[],
  onRow: (row: CaseRow) => void | Promise<void>,
): Promise<void> {
  const waiting = cases.values();
  const work = async () => {
    for (const each of waiting) {
      const outcome = await outcomeOf(each, gpu);
      if (gpu.loss.info) return;
      await onRow({ case: each, ...outcome });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

async function outcomeOf(each: KernelCase, gpu: Gpu): Promise<Omit<CaseRow, 'case'>> {
  try {
    const { error, tolerance, detail, skipped } = await each.run(gpu);
    if (skipped !== undefined) return { skipped };
    return error <= tolerance ? {} : { failure: `error ${error} is over ${tolerance}. ${detail}` }; // NaN is a failure too
  } catch (error) {
    return { failure: String(error) };
  }
}
