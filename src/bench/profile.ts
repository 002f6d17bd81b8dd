/**
 * Where a decode step's time goes on the GPU: each kind of dispatch timed alone, as a chain through all layers that have it. A chain
 * waits for each dispatch before the next as a step does, and passes through every layer's weights and state, so caches do not flatter.
 */
import type { ModelSession } from '../engine/model_session';
import { type Dispatch, encode } from '../gpu/dispatch';
import type { Effort } from './ceilings';
import { timeWork } from './timing';

export type ProfileRow = {
  kernel: string;
  /** Of a token. */
  dispatches: number;
  /** Of one dispatch. */
  us: number;
  /** Of all of a token's. */
  msPerToken: number;
};

/** Most time first. Everything must be resident; the sequence's state is spoilt: reset it. */
export async function profileDecode(session: ModelSession, effort: Effort): Promise<ProfileRow[]> {
  const { gpu, recordings, runner, sequence } = session;
  await runner.step([{ sequence, tokens: Uint32Array.of(0), logits: 'last' }]); // kernels that look at the step find one token
  const { body, head } = recordings.decode;
  const kinds = new Map<string, Dispatch[]>();
  for (const dispatch of [...body, ...head].flatMap(({ dispatches }) => dispatches)) {
    const key = kindOf(dispatch);
    kinds.set(key, [...(kinds.get(key) ?? []), dispatch]);
  }
  const rows: ProfileRow[] = [];
  for (const [kernel, dispatches] of kinds) {
    const encodeItems = (pass: GPUComputePassEncoder, first: number, count: number) => {
      for (let i = first; i < first + count; i++) encode(pass, [dispatches[i % dispatches.length]!], 1);
    };
    const { median } = await timeWork(gpu, encodeItems, { ...effort, warmUp: dispatches.length });
    rows.push({ kernel, dispatches: dispatches.length, us: 1000 * median, msPerToken: dispatches.length * median });
  }
  return rows.sort((a, b) => b.msPerToken - a.msPerToken);
}

/** A kernel that multiplies by a matrix is told apart by the matrix's shape as well. */
const kindOf = ({ kernel, rows }: Dispatch): string =>
  rows === 0 ? kernel.label : `${kernel.label}, ${rows} rows, ${kernel.grid(1, rows).join('x')} workgroups`;
