/** A few tokens times 4-bit weights: for steps that check drafted tokens, and a prompt's last few. */
import source from '../../wgsl/gemm_q4_few.wgsl?raw';
import sourceInt from '../../wgsl/gemm_q4_few_int.wgsl?raw';
import fewRows from '../../wgsl/shared/few_rows.wgsl?raw';
import type { Gpu } from '../gpu/device';
import { createKernel, fold, type Kernel, type KernelSpec, kernelByTokens } from '../gpu/kernel';
import type { Candidate, ProductShape } from './candidates';
import { type Affine4, type IntDtype, isAffine4, matrix, planesOf, requireMultiple, shared } from './variants';

/** `lanes` threads share the columns of four rows and meet `tokens` tokens with each; a workgroup holds `teams` such teams: see few_rows. */
export type FewTeam = { lanes: 8 | 16 | 32 | 64; teams: number; tokens: 2 | 4 | 8 };

type FewShape = {
  cols: number;
  format: Affine4;
  /** Add to y, as a residual connection does, in place of writing it. */
  accumulate: boolean;
  team: FewTeam;
};

/**
 * Y = X W^T as createGemmQ4, weights read once for every team.tokens tokens.
 * @throws EngineError 'shape' unless 32 divides group and group divides cols.
 */
export function createGemmQ4Few(gpu: Gpu, shape: FewShape): Kernel {
  const spec = fewSpec('gemm_q4_few', shape);
  return createKernel(gpu, {
    ...spec,
    label: `${spec.label} ${fewName(shape.team)}`,
    sources: [...spec.sources, source],
  });
}

/** The same for an x that emit_int wrote: see createGemvQ4Int. @throws EngineError 'shape' as createGemmQ4Few. */
export function createGemmQ4FewInt(gpu: Gpu, shape: FewShape & { x: IntDtype }): Kernel {
  const spec = fewSpec('gemm_q4_few_int', shape);
  return createKernel(gpu, {
    ...spec,
    label: `${spec.label} ${shape.x} ${fewName(shape.team)}`,
    sources: [...spec.sources, sourceInt],
    constants: { ...spec.constants, PLANES: planesOf(shape.x) },
  });
}

function fewSpec(stem: string, { cols, format, accumulate, team: { lanes, teams, tokens } }: FewShape) {
  const piece = matrix(format);
  const label = `${stem}${piece.suffix}`;
  requireMultiple(label, 'group', format.group, 32);
  requireMultiple(label, 'cols', cols, format.group);
  return {
    label,
    sources: [...piece.sources, shared.step, fewRows],
    constants: {
      ...{ ACCUMULATE: Number(accumulate), COLS: cols, LANES: lanes, TEAMS: teams, TOKENS: tokens },
      ...piece.constants,
    },
    bindings: { x: 'read', y: 'write', step: 'uniform' },
    weights: true,
    grid: (count, rows) => {
      const [x, z] = fold(Math.ceil(rows / (4 * teams)));
      return [x, Math.ceil(count / tokens), z];
    },
  } satisfies KernelSpec;
}

export const fewName = ({ lanes, teams, tokens }: FewTeam): string => `${tokens} tokens, ${lanes}x${teams}`;

/** The fewest tokens a team takes that `count` are, or eight. */
const tokensFor = (count: number): FewTeam['tokens'] => (count <= 2 ? 2 : count <= 4 ? 4 : 8);

/** Up to so many tokens weights are worth reading once for each eight of them. */
export const fewTokens = 16;

/** What a recording runs for up to `fewTokens` tokens. */
export function chooseGemmFew(gpu: Gpu, shape: Omit<FewShape, 'team'>): { upTo: number; kernel: Kernel }[] {
  return ([2, 4, 8] as const).map((tokens) => ({
    upTo: tokens === 8 ? fewTokens : tokens,
    kernel: createGemmQ4Few(gpu, { ...shape, team: { lanes: 16, teams: 4, tokens } }),
  }));
}

/** The same on integer activations. */
export function chooseGemmFewInt(gpu: Gpu, shape: Omit<FewShape, 'team'> & { x: IntDtype }): Kernel {
  return kernelByTokens(
    ([2, 4, 8] as const).map((tokens) => ({
      upTo: tokens === 8 ? Number.POSITIVE_INFINITY : tokens,
      kernel: createGemmQ4FewInt(gpu, { ...shape, team: { lanes: 16, teams: 4, tokens } }),
    })),
  );
}

/** What a GPU may run for a few tokens, exact ones first. */
export function gemmFewCandidates(gpu: Gpu, { cols, format, accumulate, tokens }: ProductShape): Candidate[] {
  if (tokens < 2 || tokens > fewTokens || !isAffine4(format) || format.group % 32 !== 0) return [];
  const teams = ([8, 16, 32, 64] as const).flatMap((lanes) =>
    [64, 128]
      .filter((threads) => threads >= lanes)
      .map((threads) => ({ lanes, teams: threads / lanes, tokens: tokensFor(tokens) })),
  );
  const exact = teams.map(
    (team): Candidate => ({
      name: `few ${fewName(team)}`,
      create: (gpu) => createGemmQ4Few(gpu, { cols, format, accumulate, team }),
    }),
  );
  const fast = teams.map(
    (team): Candidate => ({
      name: `few int16 ${fewName(team)}`,
      create: (gpu) => createGemmQ4FewInt(gpu, { cols, format, accumulate, team, x: 'int16' }),
      x: 'int16',
    }),
  );
  return [...exact, ...(gpu.int8Dot ? fast : [])];
}
