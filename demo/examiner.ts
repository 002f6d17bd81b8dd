/** Runs the doctor's checks one after another, keeps what a dead tab must leave behind, and tells what happens. */
import { proxy, type Remote, wrap } from 'comlink';
import { build } from '../src/doctor/build';
import type { ExamOptions, Progress } from '../src/doctor/context';
import type { DoctorWorkerApi, WorkerCheck } from '../src/doctor/examination';
import { unknown } from '../src/doctor/plant';
import { cleaned } from '../src/doctor/private_text';
import { type CheckId, type Finding, failedFinding, type Report } from '../src/doctor/report';
import workerUrl from '../workers/doctor.worker.ts?worker&url';
import { checkChat } from './doctor_chat';
import { forgetMarker, keepMarker, keepReport } from './doctor_memory';

export type ExamHooks = {
  onStart(id: CheckId): void;
  onProgress(id: CheckId, progress: Progress): void;
  onFinding(id: CheckId, finding: Finding): void;
};

/** Checks that open no device of the worker's, and may be asked where that would be the end of the tab. */
const withoutDevice: ReadonlySet<CheckId> = new Set(['browser', 'chat']);
/** Far longer than any check takes: what hangs must end, too. */
const CHECK_LIMIT_MS = 20 * 60_000;

export class Examiner {
  #worker: Worker | undefined;
  /** One for the worker's whole life: comlink ends the worker's side with the last of its proxies that is collected. */
  #remote: Remote<DoctorWorkerApi> | undefined;
  #cancelled = new AbortController();

  constructor(private readonly hooks: ExamHooks) {}

  /** Ends the worker, and with it whatever it holds. */
  cancel(): void {
    this.#cancelled.abort();
    this.#end();
  }

  /** Never rejects: what goes wrong is in the report. */
  async run(asked: CheckId[], options: ExamOptions, died: Report['died']): Promise<Report> {
    this.#cancelled = new AbortController();
    const report: Report = cleaned<Report>({
      ...{ sluice: 'doctor', format: 1, build, startedAt: new Date().toISOString(), asked, state: 'running' },
      userAgent: navigator.userAgent,
      ...(await this.#asked(asked, options)),
      ...(died ? { died } : {}),
      ...{ findings: {}, verdicts: [] },
    });
    for (const id of asked) {
      if (this.#cancelled.signal.aborted) break;
      this.hooks.onStart(id);
      const finding = await this.#check(id, options);
      if (!finding) break;
      Object.assign(report.findings, { [id]: finding });
      if (!withoutDevice.has(id)) report.adapter ??= await this.#adapter();
      this.hooks.onFinding(id, finding);
      keepReport(report);
    }
    report.verdicts = this.#cancelled.signal.aborted ? [] : await this.#verdicts(report);
    report.state = this.#cancelled.signal.aborted ? 'cancelled' : 'done';
    forgetMarker();
    keepReport(report);
    this.#end();
    return report;
  }

  /** What narrows the checks or plants a fault, in words that are known; the worker knows the kernels. */
  async #asked(asked: CheckId[], options: ExamOptions): Promise<Pick<Report, 'only' | 'planted' | 'again'>> {
    const { only, plant } = options;
    const untold = { ...(only ? { only: unknown } : {}), ...(plant ? { planted: unknown } : {}) };
    return this.#ask((worker) => worker.asked(asked, options)).catch(() => untold);
  }

  /** Undefined where it was cancelled. */
  async #check(id: CheckId, options: ExamOptions): Promise<Finding | undefined> {
    const started = performance.now();
    const { signal } = this.#cancelled;
    const say = (progress: Progress) => {
      keepMarker(cleaned({ check: id, step: progress.step, at: new Date().toISOString(), ...held(progress) }));
      this.hooks.onProgress(id, progress);
    };
    say({ done: 0, total: 1, step: 'starting' });
    try {
      if (id === 'chat') {
        const limited = AbortSignal.any([signal, AbortSignal.timeout(CHECK_LIMIT_MS)]);
        return cleaned(await checkChat(options.modelUrl, say, limited));
      }
      return await this.#ask((worker) => worker.check(id as WorkerCheck, options, proxy(say)));
    } catch (error) {
      if (signal.aborted) return undefined;
      this.#end(); // the next check gets a worker of its own
      return cleaned(failedFinding(`This check broke off: ${String(error)}`, performance.now() - started));
    }
  }

  async #adapter(): Promise<Report['adapter']> {
    return this.#ask((worker) => worker.adapter()).catch(() => undefined); // there is none; the check itself says so
  }

  async #verdicts({ findings }: Report): Promise<Report['verdicts']> {
    if (!findings.device) return [];
    return this.#ask((worker) => worker.verdicts(findings)).catch(() => []);
  }

  #ask<T>(question: (worker: Remote<DoctorWorkerApi>) => Promise<T>): Promise<T> {
    this.#worker ??= new Worker(new URL(workerUrl, import.meta.url), { type: 'module', name: 'sluice doctor' });
    const worker = this.#worker;
    this.#remote ??= wrap<DoctorWorkerApi>(worker);
    const ended = new AbortController();
    const failure = new Promise<never>((_, reject) => {
      const fail = (why: string) => reject(new Error(why));
      const over = AbortSignal.any([this.#cancelled.signal, ended.signal]);
      worker.addEventListener('error', ({ message }) => fail(`the worker failed: ${message}`), { signal: over });
      this.#cancelled.signal.addEventListener('abort', () => fail('cancelled'), { signal: ended.signal });
      const timer = setTimeout(() => fail(`no answer within ${CHECK_LIMIT_MS / 60_000} minutes`), CHECK_LIMIT_MS);
      ended.signal.addEventListener('abort', () => clearTimeout(timer));
    });
    return Promise.race([question(this.#remote), failure]).finally(() => ended.abort());
  }

  #end(): void {
    this.#worker?.terminate();
    this.#worker = undefined;
    this.#remote = undefined;
  }
}

const held = ({ heldBytes }: Progress) => (heldBytes === undefined ? {} : { heldBytes });
