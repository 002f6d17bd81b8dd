/**
 * Tokens of constrained replies on a port of their own between host and text worker, because two calls through comlink cost a token more
 * CPU time than its mask does. One message asks whether a token is accepted; the answer comes at once and the next mask, which is sure
 * to be wanted, after it without being asked for.
 */
import type { Acceptance } from '../grammar/constraint_run';
import type { TextResult } from './text_worker_api';

export type Mask = Uint32Array<ArrayBuffer>;
/** Without `token`: for the mask alone. `remaining`: tokens that the reply may have after the token, or from the mask on. */
type Question = { id: number; token?: number; remaining: number };
/** A mask answers to the `remaining` that it was computed for. */
type Answer = { id: number } & ({ acceptance: TextResult<Acceptance> } | { mask: TextResult<Mask>; remaining: number });

/** What answers in the worker's thread. Nothing here rejects. */
export type ConstraintAnswers = {
  mask(id: number, remaining: number): Promise<TextResult<Mask>>;
  accept(id: number, token: number, remaining: number): TextResult<Acceptance>;
};

/**
 * How many tokens may come from the next mask on, after an acceptance; undefined where no mask follows it: at the end of a reply, and
 * while tokens are only taken again.
 */
function followedBy(acceptance: TextResult<Acceptance>, remaining: number): number | undefined {
  if ('error' in acceptance || acceptance.value.done || !Number.isFinite(remaining)) return undefined;
  const next = acceptance.value.accepted ? remaining : remaining + 1;
  return next > 0 ? next : undefined;
}

/** The worker's side. */
export function serveConstraints(port: MessagePort, answers: ConstraintAnswers): void {
  const sendMask = async (id: number, remaining: number) => {
    const mask = await answers.mask(id, remaining);
    const answer: Answer = { id, mask, remaining };
    port.postMessage(answer, 'value' in mask ? [mask.value.buffer] : []);
  };
  port.addEventListener('message', ({ data }: MessageEvent<Question>) => {
    const { id, token, remaining } = data;
    if (token === undefined) return void sendMask(id, remaining);
    const acceptance = answers.accept(id, token, remaining);
    const answer: Answer = { id, acceptance };
    port.postMessage(answer);
    const next = followedBy(acceptance, remaining);
    if (next !== undefined) void sendMask(id, next);
  });
  port.start();
}

type AwaitedMask = { remaining: number; mask: Promise<TextResult<Mask>>; resolve(mask: TextResult<Mask>): void };

/** The host's side. Promises of a worker that was ended stay open; whoever ends it rejects what waits for them. */
export class ConstraintPort {
  readonly #port: MessagePort;
  /** By constraint: what its next mask is or will be. */
  readonly #masks = new Map<number, AwaitedMask>();
  /** By constraint: takes the answer about its token. */
  readonly #accepting = new Map<number, (acceptance: TextResult<Acceptance>) => void>();

  constructor(port: MessagePort) {
    this.#port = port;
    port.addEventListener('message', ({ data }: MessageEvent<Answer>) => this.#take(data));
    port.start();
    (port as { unref?(): void }).unref?.(); // Node: a program that has nothing left to do ends
  }

  /** Bits of the tokens that may come next; `remaining` counts the one to come. */
  mask(id: number, remaining: number): Promise<TextResult<Mask>> {
    const known = this.#masks.get(id);
    if (known?.remaining === remaining) return known.mask;
    const { mask } = this.#await(id, remaining);
    this.#ask({ id, remaining });
    return mask;
  }

  accept(id: number, token: number, remaining: number): Promise<TextResult<Acceptance>> {
    this.#masks.delete(id); // it was of another moment
    return new Promise((resolve) => {
      this.#accepting.set(id, (acceptance) => {
        const next = followedBy(acceptance, remaining);
        if (next !== undefined) this.#await(id, next);
        resolve(acceptance);
      });
      this.#ask({ id, token, remaining });
    });
  }

  /** Of a constraint that has ended. */
  forget(id: number): void {
    this.#masks.delete(id);
    this.#accepting.delete(id);
  }

  close(): void {
    this.#port.close();
  }

  #ask(question: Question): void {
    this.#port.postMessage(question);
  }

  #await(id: number, remaining: number): AwaitedMask {
    let resolve!: AwaitedMask['resolve'];
    const mask = new Promise<TextResult<Mask>>((take) => {
      resolve = take;
    });
    const awaited = { remaining, mask, resolve };
    this.#masks.set(id, awaited);
    return awaited;
  }

  #take(answer: Answer): void {
    const { id } = answer;
    if ('acceptance' in answer) {
      const take = this.#accepting.get(id);
      this.#accepting.delete(id);
      take?.(answer.acceptance);
      return;
    }
    const awaited = this.#masks.get(id);
    if (awaited?.remaining === answer.remaining) awaited.resolve(answer.mask);
  }
}
