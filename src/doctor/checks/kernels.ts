/** Every kernel that the engine runs against its plain TypeScript reference, on this device. */
import { type KernelCase, kernelCases } from '../../cases/suite';
import type { Context, Outcome } from '../context';
import { plural } from '../context';
import { planted } from '../plant';
import type { CaseFailure, KernelFacts } from '../report';
import { runCases } from '../run_cases';

/** Candidates of benchmarks: no recording runs them, so no answer depends on them. */
const unused = new Set(['attention', 'gemm_q4_few_int']);

/** What answers depend on, or all whose name has `only` in it. */
export const casesFor = (only: string | undefined): KernelCase[] =>
  kernelCases.filter(({ kernel, name }) => (only ? `${kernel}: ${name}`.includes(only) : !unused.has(kernel)));

export async function checkKernels({ gpu: open, options, say }: Context): Promise<Outcome<KernelFacts>> {
  const { only, plant } = options;
  const opened = await open();
  const gpu = planted(opened, plant);
  const cases = casesFor(only);
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
  const passedOver = Object.values(skipped).reduce((sum, count) => sum + count, 0);
  const facts = { ran: done - passedOver, failed, skipped };
  const problems = [
    ...failed.map(({ kernel, name, what }) => `${kernel}: ${name}: ${what}`),
    ...uncaptured.map((message) => `outside any case: ${message}`),
    ...(done < cases.length ? [`the device was lost after ${done} of ${plural(cases.length, 'case')}`] : []),
    ...(cases.length === 0 ? [`no kernel's name contains '${only}'`] : []),
  ];
  if (problems.length > 0) return { status: 'failed', summary: summaryOf(facts, problems), problems, facts };
  const left = passedOver > 0 ? `; ${passedOver.toLocaleString('en')} need what this device lacks` : '';
  return { status: 'passed', summary: `${plural(facts.ran, 'case')} agree with their references${left}.`, facts };
}

function summaryOf({ failed, ran }: KernelFacts, problems: readonly string[]): string {
  if (failed.length === 0) return problems[0]!;
  const stems = [...new Set(failed.map(({ kernel }) => kernel))];
  return `${failed.length} of ${plural(ran, 'case')} are wrong: ${stems.join(', ')}. Do not trust answers on this device.`;
}
