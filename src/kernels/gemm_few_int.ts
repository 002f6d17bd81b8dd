/** A few tokens of integers times 4-bit weights. No recording runs it yet: it is what steps that check drafted tokens would want. */
import source from '../../wgsl/gemm_q4_few_int.wgsl?raw';
import type { Gpu } from '../gpu/device';
import { createKernel, fold, type Kernel } from '../gpu/kernel';
import type { Candidate, ProductShape } from './candidates';
import { type Affine4, type IntDtype, isAffine4, matrix, requireMultiple, shared, unitPieces } from './variants';

/** `lanes` threads share the columns of four rows and meet `tokens` tokens with each; a workgroup holds `teams` such teams. */
export type FewTeam = { lanes: 32 | 64; teams: number; tokens: 2 | 4 | 8 };

/** `accumulate`: add to y, as a residual connection does, in place of writing it. */
type FewShape = { cols: number; format: Affine4; accumulate: boolean; team: FewTeam; x: IntDtype };

/**
 * Y = X W^T for an x that emit_int wrote (see createGemvQ4Units), weights read once for every team.tokens tokens.
 * @throws EngineError 'shape' unless 32 divides group and group divides cols.
 */
export function createGemmQ4FewInt(gpu: Gpu, { cols, format, accumulate, team, x }: FewShape): Kernel {
  const { lanes, teams, tokens } = team;
  const piece = matrix(format);
  const label = `gemm_q4_few_int${piece.suffix} ${x} ${fewName(team)}`;
  requireMultiple(label, 'group', format.group, 32);
  requireMultiple(label, 'cols', cols, format.group);
  return createKernel(gpu, {
    label,
    sources: [...piece.sources, ...unitPieces(x).sources, shared.step, source],
    constants: {
      ...{ ACCUMULATE: Number(accumulate), COLS: cols, ...unitPieces(x).constants },
      ...{ LANES: lanes, TEAMS: teams, TOKENS: tokens },
      ...piece.constants,
    },
    bindings: { x: 'read', y: 'write', step: 'uniform' },
    weights: 'matrix',
    grid: (count, rows) => {
      const [columns, z] = fold(Math.ceil(rows / (4 * teams)));
      return [columns, Math.ceil(count / tokens), z];
    },
  });
}

export const fewName = ({ lanes, teams, tokens }: FewTeam): string => `${tokens} tokens, ${lanes}x${teams}`;

/** Up to so many tokens weights are worth reading once for each eight of them. */
const fewTokens = 16;

/** What a GPU may run for a few tokens. */
export function gemmFewIntCandidates(gpu: Gpu, { cols, format, accumulate, tokens: count }: ProductShape): Candidate[] {
  if (count < 2 || count > fewTokens || !isAffine4(format) || format.group % 32 !== 0 || !gpu.int8Dot) return [];
  const tokens = count <= 2 ? 2 : count <= 4 ? 4 : 8;
  return ([32, 64] as const).map((lanes): Candidate => {
    const team: FewTeam = { lanes, teams: 128 / lanes, tokens };
    return {
      name: `few int16 ${fewName(team)}`,
      create: (gpu) => createGemmQ4FewInt(gpu, { cols, format, accumulate, team, x: 'int16' }),
      x: 'int16',
    };
  });
}
