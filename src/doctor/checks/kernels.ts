/** Every kernel against its plain TypeScript reference, on this device. */
import { kernelCases } from '../../cases/suite';
import type { Context, Outcome } from '../context';
import { plural } from '../context';
import { noPlantYet, planted, whyIdle } from '../plant';
import type { CaseFailure, KernelFacts } from '../report';
import { runCases } from '../run_cases';

/** Benchmarks alone run these: no recording does, so no answer depends on them. */
const benchmarksOnly = new Set(['attention', 'gemm_q4_few_int']);

export async function checkKernels({ gpu: open, options, say }: Context): Promise<Outcome<KernelFacts>> {
  const { only, plant } = options;
  const opened = await open();
  const tally = noPlantYet();
  const gpu = planted(opened, plant, tally);
  const cases = kernelCases.filter(({ kernel, name }) => !only || `${kernel}: ${name}`.includes(only));
  const uncaptured: string[] = [];
  const onUncaptured = ({ error }: GPUUncapturedErrorEvent) => uncaptured.push(error.message);
  opened.device.addEventListener('uncapturederror', onUncaptured);
  const failed: CaseFailure[] = [];
  const skipped: Record<string, number> = {};
  let done = 0;
  await say({ done, total: cases.length, step: 'compiling' });
  await runCases(gpu, cases, async ({ case: { kernel, name, why }, failure, skipped: reason }) => {
    done += 1;
    if (failure !== undefined) failed.push({ kernel, name, why, what: failure });
    if (reason !== undefined) skipped[reason] = (skipped[reason] ?? 0) + 1;
    await say({ done, total: cases.length, step: `${kernel}: ${name}` });
  });
  opened.device.removeEventListener('uncapturederror', onUncaptured);
  const facts = { ran: done - total(skipped), failed, skipped };
  const idle = cases.length > 0 && whyIdle(plant, tally);
  const others = [
    ...(idle ? [idle] : []),
    ...uncaptured.map((message) => `outside any case: ${message}`),
    ...(done < cases.length ? [`the device was lost after ${done} of ${plural(cases.length, 'case')}`] : []),
    ...(cases.length === 0 ? ['no kernel has a name with what was asked for in it'] : []),
  ];
  return { ...judged(facts, others), facts };
}

/** `others`: what went wrong outside the cases. */
export function judged(
  { ran, failed, skipped }: KernelFacts,
  others: readonly string[] = [],
): Omit<Outcome<KernelFacts>, 'facts'> {
  const problems = [...failed.map(({ kernel, name, what }) => `${kernel}: ${name}: ${what}`), ...others];
  const stems = [...new Set(failed.map(({ kernel }) => kernel))];
  const named = stems.join(', ');
  if (others.length > 0 || stems.some((stem) => !benchmarksOnly.has(stem))) {
    if (failed.length === 0) return { status: 'failed', summary: problems[0]!, problems };
    const summary = `${failed.length} of ${plural(ran, 'case')} are wrong: ${named}. Do not trust answers on this device.`;
    return { status: 'failed', summary, problems };
  }
  const passedOver = total(skipped);
  const left = passedOver > 0 ? `; ${passedOver.toLocaleString('en')} need what this device lacks` : '';
  const agree = `${plural(ran - failed.length, 'case')} agree with their references${left}`;
  if (failed.length === 0) return { status: 'passed', summary: `${agree}.`, problems };
  const summary = `${agree}; ${failed.length} do not, of kernels that only benchmarks run: ${named}.`;
  return { status: 'noted', summary, problems };
}

const total = (counts: Record<string, number>): number => Object.values(counts).reduce((sum, count) => sum + count, 0);
