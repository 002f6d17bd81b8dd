/**
 * Plans anew while somebody moves a slider: waits for a pause, asks for one plan at a time, and forgets what was overtaken. A plan
 * is asked for in a worker of its own, so ending an old question costs nothing to the engine that runs.
 */
import type { PlanReport } from '../src/api';
import { isAbort } from './session';

export type PlanState<R> =
  | { kind: 'planning'; request: R }
  | { kind: 'planned'; request: R; plan: PlanReport }
  | { kind: 'refused'; request: R; error: unknown };

export class Replanner<R> {
  #timer: ReturnType<typeof setTimeout> | undefined;
  #running = new AbortController();

  /** `ask` must end when its signal aborts. `onChange` gets every state of the latest request and none of an older one. */
  constructor(
    private readonly ask: (request: R, signal: AbortSignal) => Promise<PlanReport>,
    private readonly onChange: (state: PlanState<R>) => void,
    private readonly delayMs = 300,
  ) {}

  /** `delayMs` 0: at once. */
  plan(request: R, delayMs = this.delayMs): void {
    this.cancel();
    this.onChange({ kind: 'planning', request });
    const { signal } = this.#running;
    this.#timer = setTimeout(() => void this.#run(request, signal), delayMs);
  }

  cancel(): void {
    clearTimeout(this.#timer);
    this.#running.abort();
    this.#running = new AbortController();
  }

  async #run(request: R, signal: AbortSignal): Promise<void> {
    try {
      const plan = await this.ask(request, signal);
      if (!signal.aborted) this.onChange({ kind: 'planned', request, plan });
    } catch (error) {
      if (!signal.aborted && !isAbort(error)) this.onChange({ kind: 'refused', request, error });
    }
  }
}
