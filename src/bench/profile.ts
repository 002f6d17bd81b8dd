/**
 * Where a step's time goes on the GPU: each kind of dispatch timed alone, as a chain through all layers that have it. A chain
 * waits for each dispatch before the next as a step does, and passes through every layer's weights and state, so caches do not flatter.
 */
import type { ModelSession } from '../engine/model_session';
import { type Dispatch, encode } from '../gpu/dispatch';
import type { Effort } from './ceilings';
import type { Clock, Timestamps } from './timestamps';
import { timeWork } from './timing';

export type ProfileRow = {
  kernel: string;
  /** Of a step. */
  dispatches: number;
  /** Of one dispatch. */
  us: number;
  /** Of all of a step's. */
  msPerStep: number;
  /** That both were measured with: the GPU's own where its timestamps gave an interval. */
  clock: Clock;
  /** Where every dispatch multiplies by matrices that are the same for every token: how fast it passes through them. */
  gbPerSecond?: number;
  tflops?: number;
};

/**
 * Of a step of `tokens` tokens behind those that the sequence holds, most time first. Everything must be resident; the sequence's state is
 * spoilt: reset it. `timestamps`: of the session's device, where it has them.
 */
export async function profileStep(
  session: ModelSession,
  effort: Effort,
  tokens: number,
  timestamps?: Timestamps,
): Promise<ProfileRow[]> {
  const { gpu, recordings, runner, sequence } = session;
  // Kernels that look at the step find that many tokens.
  await runner.step([{ sequence, tokens: new Uint32Array(tokens), logits: 'last' }]);
  const { body } = recordings[tokens === 1 ? 'decode' : 'prefill'];
  const { head } = recordings.decode; // of the last token alone
  const kinds = new Map<string, { tokens: number; dispatches: Dispatch[] }>();
  const add = (sections: readonly { dispatches: Dispatch[] }[], tokens: number) => {
    for (const dispatch of sections.flatMap(({ dispatches }) => dispatches)) {
      const key = kindOf(dispatch, tokens);
      kinds.set(key, { tokens, dispatches: [...(kinds.get(key)?.dispatches ?? []), dispatch] });
    }
  };
  add(body, tokens);
  add(head, 1);
  const rows: ProfileRow[] = [];
  for (const [kernel, { tokens, dispatches }] of kinds) {
    const encodeItems = (pass: GPUComputePassEncoder, first: number, count: number) => {
      for (let i = first; i < first + count; i++) encode(pass, [dispatches[i % dispatches.length]!], tokens);
    };
    const { median, clock } = await timeWork(gpu, encodeItems, { ...effort, warmUp: dispatches.length, timestamps });
    const msPerStep = dispatches.length * median;
    const rates = ratesOf(dispatches, tokens, msPerStep);
    rows.push({ kernel, dispatches: dispatches.length, us: 1000 * median, msPerStep, clock, ...rates });
  }
  return rows.sort((a, b) => b.msPerStep - a.msPerStep);
}

function ratesOf(dispatches: readonly Dispatch[], tokens: number, ms: number): Pick<ProfileRow, 'gbPerSecond' | 'tflops'> {
  const reads = dispatches.flatMap(({ reads }) => reads ?? []);
  if (reads.length < dispatches.length) return {};
  const sum = (of: 'bytes' | 'weights') => reads.reduce((total, each) => total + each[of], 0);
  return { gbPerSecond: sum('bytes') / ms / 1e6, tflops: (2 * tokens * sum('weights')) / ms / 1e9 };
}

/** A kernel that multiplies by a matrix is told apart by the matrix's shape as well. */
function kindOf({ kernel, rows }: Dispatch, tokens: number): string {
  const { label } = kernel.chosen?.(tokens) ?? kernel;
  return rows === 0 ? label : `${label}, ${rows} rows, ${kernel.grid(tokens, rows).join('x')} workgroups`;
}
