/** A few tokens times 4-bit weights: short prompts, and what steps that check drafted tokens would want. */
import source from '../../wgsl/gemm_q4_few.wgsl?raw';
import sourceInt from '../../wgsl/gemm_q4_few_int.wgsl?raw';
import fewRows from '../../wgsl/shared/few_rows.wgsl?raw';
import type { Gpu } from '../gpu/device';
import { createKernel, fold, type Kernel, type KernelSpec } from '../gpu/kernel';
import type { Candidate, ProductShape } from './candidates';
import { type Affine4, type IntDtype, isAffine4, matrix, requireMultiple, shared, unitPieces } from './variants';

/** `lanes` threads share the columns of four rows and meet `tokens` tokens with each; a workgroup holds `teams` such teams: see few_rows. */
export type FewTeam = { lanes: 32 | 64 | 128; teams: 1 | 2 | 4; tokens: 2 | 4 | 8 };

/** `accumulate`: add to y, as a residual connection does, in place of writing it. */
type FewShape = { cols: number; format: Affine4; accumulate: boolean; team: FewTeam };

/**
 * Y = X W^T for few tokens, x [tokens, cols] f32, weights read once for every team.tokens tokens.
 * @throws EngineError 'shape' unless 32 divides group and group divides cols.
 */
export function createGemmQ4Few(gpu: Gpu, shape: FewShape): Kernel {
  const spec = fewSpec('gemm_q4_few', '', shape);
  return createKernel(gpu, { ...spec, sources: [...spec.sources, source] });
}

/**
 * The same for an x that emit_int wrote (see createGemvQ4Units).
 * @throws EngineError 'shape' unless 32 divides group and group divides cols.
 */
export function createGemmQ4FewInt(gpu: Gpu, { x, ...shape }: FewShape & { x: Exclude<IntDtype, 'int24'> }): Kernel {
  const spec = fewSpec('gemm_q4_few_int', ` ${x}`, shape);
  const units = unitPieces(x);
  return createKernel(gpu, {
    ...spec,
    sources: [...units.sources, ...spec.sources, sourceInt],
    constants: { ...spec.constants, ...units.constants },
  });
}

function fewSpec(stem: string, suffix: string, { cols, format, accumulate, team }: FewShape): KernelSpec {
  const { lanes, teams, tokens } = team;
  const piece = matrix(format);
  const label = `${stem}${piece.suffix}${suffix} ${fewName(team)}`;
  requireMultiple(label, 'group', format.group, 32);
  requireMultiple(label, 'cols', cols, format.group);
  return {
    label,
    sources: [...piece.sources, shared.step, fewRows],
    constants: {
      ...{ ACCUMULATE: Number(accumulate), COLS: cols },
      ...{ LANES: lanes, TEAMS: teams, TOKENS: tokens },
      ...piece.constants,
    },
    bindings: { x: 'read', y: 'write', step: 'uniform' },
    weights: 'matrix',
    grid: (count, rows) => {
      const [columns, z] = fold(Math.ceil(rows / (4 * teams)));
      return [columns, Math.ceil(count / tokens), z];
    },
  };
}

export const fewName = ({ lanes, teams, tokens }: FewTeam): string => `${tokens} tokens, ${lanes}x${teams}`;

/** Up to so many tokens weights are worth reading once for each eight of them. */
const fewTokens = 16;

const tokensOf = (count: number): FewTeam['tokens'] => (count <= 2 ? 2 : count <= 4 ? 4 : 8);

/** Of those tried on an NVIDIA H200 the fastest for many rows: two thirds of gemm_q4_split's time at 17408. */
export const usualFewTeam = (tokens: FewTeam['tokens']): FewTeam => ({ lanes: 32, teams: 4, tokens });

const fewTeams = (tokens: FewTeam['tokens']): FewTeam[] => [
  { lanes: 32, teams: 2, tokens },
  { lanes: 32, teams: 4, tokens },
  { lanes: 64, teams: 2, tokens },
];

/** What a GPU may run for a few tokens of f32. */
export function gemmFewCandidates({ cols, format, accumulate, tokens: count }: ProductShape): Candidate[] {
  if (count < 2 || count > fewTokens || !isAffine4(format) || format.group % 32 !== 0) return [];
  return fewTeams(tokensOf(count)).map(
    (team): Candidate => ({
      name: `few ${fewName(team)}`,
      create: (gpu) => createGemmQ4Few(gpu, { cols, format, accumulate, team }),
    }),
  );
}

/** What a GPU may run for a few tokens of integers. */
export function gemmFewIntCandidates(gpu: Gpu, { cols, format, accumulate, tokens: count }: ProductShape): Candidate[] {
  if (count < 2 || count > fewTokens || !isAffine4(format) || format.group % 32 !== 0 || !gpu.int8Dot) return [];
  return (['int12', 'int16'] as const).flatMap((x) =>
    fewTeams(tokensOf(count)).map(
      (team): Candidate => ({
        name: `few ${x} ${fewName(team)}`,
        create: (gpu) => createGemmQ4FewInt(gpu, { cols, format, accumulate, team, x }),
        x,
      }),
    ),
  );
}
