/** The worker's side: one check at a time, in the order that the page asks for. */
import { isAbort } from '../errors';
import { type Gpu, openGpu } from '../gpu/device';
import { usableSubgroups } from '../kernels/probe';
import { againOf, askedOf } from './asked';
import { checkBrowser } from './checks/browser';
import { checkDevice } from './checks/device';
import { checkDisk } from './checks/disk';
import { checkKernels } from './checks/kernels';
import { checkMemory } from './checks/memory';
import { checkModel } from './checks/model';
import { checkProducts } from './checks/products';
import { checkSpeed } from './checks/speed';
import { checkUpload } from './checks/upload';
import type { Context, ExamOptions, Outcome, Progress } from './context';
import { cleaned } from './private_text';
import {
  type AdapterSummary,
  type CheckId,
  type Finding,
  type Findings,
  failedFinding,
  type Report,
  type Verdict,
} from './report';
import { verdictsOf } from './verdict';

/** What a worker can do alone; 'chat' is the page's, through the public API. */
export type WorkerCheck = Exclude<CheckId, 'chat'>;

/** The page's side of a check; comlink makes it asynchronous. */
export type Say = (progress: Progress) => void | Promise<void>;

export interface DoctorWorkerApi {
  check(id: WorkerCheck, options: ExamOptions, say: Say): Promise<Finding>;
  verdicts(findings: Report['findings']): Promise<Verdict[]>;
  /** What the checks run on. @throws EngineError 'unsupported' */
  adapter(): Promise<AdapterSummary>;
  asked(checks: readonly CheckId[], options: ExamOptions): Promise<Pick<Report, 'only' | 'planted' | 'again'>>;
}

const checks: { [Id in WorkerCheck]: (context: Context) => Promise<Outcome<Findings[Id]['facts']>> } = {
  browser: checkBrowser,
  device: checkDevice,
  kernels: checkKernels,
  model: checkModel,
  speed: checkSpeed,
  products: checkProducts,
  upload: checkUpload,
  disk: checkDisk,
  memory: checkMemory,
};

export function createDoctorWorker(): DoctorWorkerApi {
  let opened: Promise<Gpu> | undefined;
  const gpu = async (): Promise<Gpu> => {
    const known = await opened?.catch(() => undefined);
    if (!known || known.loss.info) opened = openAsEngine();
    return opened!;
  };
  return {
    async check(id, options, say) {
      const started = performance.now();
      const context: Context = { options, gpu, say: async (progress) => void (await say(progress)) };
      try {
        const outcome = await checks[id](context);
        return cleaned({ problems: [], ...outcome, ms: performance.now() - started });
      } catch (error) {
        if (isAbort(error)) throw error;
        return cleaned(failedFinding(`This check broke off: ${describe(error)}`, performance.now() - started));
      }
    },
    verdicts: async (findings) => verdictsOf(findings),
    adapter: async () => cleaned(summaryOf(await gpu())),
    asked: async (checks, options) => ({ ...askedOf(options), again: againOf(checks, options) }),
  };
}

function summaryOf({ adapter, subgroups, f16, int8Dot, direct }: Gpu): AdapterSummary {
  const { vendor, architecture, description, isCpu } = adapter;
  return { vendor, architecture, description, isCpu, subgroups, f16, int8Dot, direct };
}

/** What is asked of the device is what the engine asks of it: subgroups that do not reduce stay unused. */
async function openAsEngine(): Promise<Gpu> {
  const gpu = await openGpu(navigator.gpu);
  return { ...gpu, subgroups: await usableSubgroups(gpu) };
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = 'code' in error && typeof error.code === 'string' ? ` ${error.code}` : '';
  return `${error.name}${code}: ${error.message}`;
}
