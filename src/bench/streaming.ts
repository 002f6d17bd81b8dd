/**
 * What streamed weights cost: the time of a token, and of a prompt that takes as long to compute as its weights to read, held against the
 * largest of reading, uploading and computing. Each is measured alone in turn with the runs, so that a slow moment of the machine hits all.
 */
import { type ExpertReport, expertReport } from '../engine/expert_report';
import type { ModelSession } from '../engine/model_session';
import { Random } from '../engine/random';
import type { TokenCosts } from '../protocol/plan';
import type { ExpertCounts } from '../stream/expert_counts';
import { generateIds } from './id_generation';
import { type Summary, summarise } from './statistics';

export type StreamingBench = {
  /** Tokens of a reply, at least 2; the first comes with the prompt. */
  decodeTokens: number;
  /** Rounds that count, after one that warms up. */
  repeat: number;
  seed: number;
};

/** Milliseconds of a pass over the weights: all of it, and its parts alone (medians). */
export type StreamedPass = TokenCosts & {
  tokens: number;
  wallMs: Summary;
  /** wall / largest of the parts. */
  ratio: number;
  overlap: number | null;
};

/** `equal`: computing takes as long as reading within a fifth, so the pass shows what overlaps. */
export type StreamedPrompt = StreamedPass & { equal: boolean };

/** Without `prompt` no layer streams. `experts`: of a mixture, what the tokens of all rounds asked for. */
export type StreamingFigures = { token: StreamedPass; prompt?: StreamedPrompt; experts?: ExpertReport };

const promptTokens = 8;

/** The sequence is reset. Nothing else may run. */
export async function benchStreaming(session: ModelSession, bench: StreamingBench): Promise<StreamingFigures> {
  const known = { ...session.experts?.counts.decode };
  const token = await tokenPass(session, bench);
  const report = expertReport(session, (1 + bench.repeat) * bench.decodeTokens, known as ExpertCounts);
  const experts = report ? { experts: report } : {};
  if (session.plan.streamedBytesPerToken === 0) return { token, ...experts };
  let prompt = await equalPrompt(session, token.readMs, bench);
  for (let more = 2; more > 0 && !prompt.equal; more--) prompt = await equalPrompt(session, prompt.readMs, bench);
  return { token, prompt, ...experts };
}

/** `readMs`: as it was measured last; a disk may have changed its mind since. */
async function equalPrompt(session: ModelSession, readMs: number, bench: StreamingBench): Promise<StreamedPrompt> {
  const tokens = await tokensThatTake(readMs, mostTokens(session), (count) => session.measureCompute(count));
  const pass = await promptPass(session, tokens, bench);
  return { ...pass, equal: Math.abs(pass.computeMs / pass.readMs - 1) <= 0.2 };
}

/**
 * (read + upload + compute - wall) / (sum - largest): 1 where the slowest hides the others, 0 where they follow each other; more than 1
 * where reads go straight into staging, which spares the upload its copy. null where only one takes time.
 */
export function overlapOf({ readMs, uploadMs, computeMs }: Omit<TokenCosts, 'throughMs'>, wallMs: number): number | null {
  const sum = readMs + uploadMs + computeMs;
  const largest = Math.max(readMs, uploadMs, computeMs);
  return sum > largest ? (sum - wallMs) / (sum - largest) : null;
}

/**
 * The count of 2 to `most` tokens whose computing takes nearest to `ms`, to a tenth where there is one. Time rises with tokens, in steps.
 */
export async function tokensThatTake(ms: number, most: number, computeMs: (tokens: number) => Promise<number>): Promise<number> {
  const tried: { tokens: number; off: number }[] = [];
  const tooFew = async (tokens: number) => {
    const factor = (await computeMs(tokens)) / ms;
    tried.push({ tokens, off: Math.abs(Math.log(factor)) });
    return factor < 1;
  };
  let low = 1;
  let high = Math.min(most, 16);
  while ((await tooFew(high)) && high < most) [low, high] = [high, Math.min(most, high * 2)];
  while (high - low > 1 && tried.every(({ off }) => off > 0.1)) {
    const middle = (low + high) >> 1;
    if (await tooFew(middle)) low = middle;
    else high = middle;
  }
  return tried.reduce((best, each) => (each.off < best.off ? each : best)).tokens;
}

/** Of one pass. */
const mostTokens = ({ plan, options }: ModelSession): number => Math.min(plan.scratch.passTokens, options.contextTokens);

/** One token of a reply by the engine's own loop, sampling included. */
function tokenPass(session: ModelSession, { decodeTokens, repeat, seed }: StreamingBench): Promise<StreamedPass> {
  const ids = randomIds(session, promptTokens, seed);
  return rounds(session, 1, repeat, async () => {
    session.sequence.reset();
    const { timings } = await generateIds(session, { ids, known: 0, decodeTokens, seed });
    return timings.decodeMs / timings.decodeTokens;
  });
}

/** Of prompts one after another: what the first of them finds read ahead, the last leaves to the next. */
function promptPass(session: ModelSession, tokens: number, { repeat, seed }: StreamingBench): Promise<StreamedPass> {
  const { sequence, runner } = session;
  const ids = Uint32Array.from(randomIds(session, tokens, seed));
  const read = async () => {
    sequence.reset();
    await runner.step([{ sequence, tokens: ids, logits: 'last' }]);
  };
  return rounds(session, tokens, repeat, async () => {
    await read(); // a measurement has emptied the ring
    const started = performance.now();
    for (let i = 0; i < 2; i++) await read();
    return (performance.now() - started) / 2;
  });
}

async function rounds(session: ModelSession, tokens: number, repeat: number, wall: () => Promise<number>): Promise<StreamedPass> {
  const walls: number[] = [];
  const costs: TokenCosts[] = [];
  await wall();
  for (let round = 0; round < repeat; round++) {
    walls.push(await wall());
    costs.push(await session.measure(tokens));
  }
  const middle = (part: keyof TokenCosts) => summarise(costs.map((each) => each[part])).median;
  const [readMs, uploadMs, throughMs, computeMs] = [
    middle('readMs'),
    middle('uploadMs'),
    middle('throughMs'),
    middle('computeMs'),
  ];
  const parts = { readMs, uploadMs, throughMs, computeMs };
  const wallMs = summarise(walls);
  const ratio = wallMs.median / Math.max(parts.readMs, parts.uploadMs, parts.computeMs);
  return { tokens, wallMs, ...parts, ratio, overlap: overlapOf(parts, wallMs.median) };
}

function randomIds({ config }: ModelSession, count: number, seed: number): number[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => Math.floor(random.next() * config.vocabSize));
}
