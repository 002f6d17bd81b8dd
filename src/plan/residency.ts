/**
 * Which units stay resident and how deep the ring is, for the bytes that are free. Every pinned byte saves reading one byte per
 * token, so few bytes streamed is the first aim; but reads hide behind compute only if they are spread evenly over the pass.
 *
 * A policy is an order of pinning by kind of unit, and a depth that the ring may have beyond its minimum (which pays where reads and
 * compute take equally long and the budget is near the smallest: up to 22 % in simulations of random models, nothing elsewhere). For
 * any budget it pins the longest prefix of its order that fits, and fills what is left with smaller units. The ring that a prefix
 * needs never grows along the order, so more bytes never mean more streaming. Which policy serves which range of budgets is decided
 * by simulating all of them over a fixed grid, never at the budget asked for: else two near budgets could get two policies, the
 * larger one streaming more. Which units of a kind are pinned changes no byte count, and is chosen at the budget itself.
 */
import { EngineError } from '../errors';
import { type Speeds, simulatePass, type TimelineUnit } from './timeline';

export type ResidencyOptions = {
  /** For pinned units and the ring together. */
  freeBytes: number;
  slotBytes: number;
  /** Slots that a streaming plan must afford; the default, `smallestRing` of everything streamed, is the least possible. */
  smallestRing?: number;
  /** Nominal ones if unknown; then compute too is nominal. */
  speeds?: Speeds;
};

export type Residency = { streamed: boolean[]; ringSlots: number };

/** A page-cached or fast disk, and a small GPU. */
export const nominalSpeeds: Speeds = { readBytesPerMs: 3e6, uploadBytesPerMs: 8e6, computeBytesPerMs: 1e8 };

/** Pinned units lie at this alignment. */
const alignment = 256;
const pinnedCost = ({ bytes }: TimelineUnit): number => Math.ceil(bytes / alignment) * alignment;

/** Bytes that the units which do not stream take. */
export function pinnedBytes(units: readonly TimelineUnit[], streamed: readonly boolean[]): number {
  return units.reduce((sum, unit, i) => sum + (streamed[i] ? 0 : pinnedCost(unit)), 0);
}

/**
 * Slots for two streamed units that follow each other, in the worst case: one computes while the next one loads. The units are a
 * cycle. One unit alone needs only its own, which are free once its compute is queued.
 */
export function smallestRing(
  units: readonly TimelineUnit[],
  streamed: readonly boolean[] = units.map((unit) => unit.streamed),
): number {
  const slots = units.filter((unit, i) => streamed[i] && unit.slots > 0).map((unit) => unit.slots);
  if (slots.length < 2) return slots[0] ?? 0;
  return slots.reduce((most, own, i) => Math.max(most, own + slots[(i + 1) % slots.length]!), 0);
}

/**
 * Pinned bytes (each unit aligned to 256) and ringSlots * slotBytes are at most freeBytes. Streamed bytes never grow with freeBytes.
 * Units without slots never stream.
 * @throws EngineError 'budget' if neither all units nor the smallest ring fit.
 */
export function chooseResidency(units: readonly TimelineUnit[], options: ResidencyOptions): Residency {
  const { freeBytes, slotBytes } = options;
  const problem = problemOf(units, options);
  if (problem.totalBytes <= freeBytes) return { streamed: units.map(() => false), ringSlots: 0 };
  if (freeBytes < problem.leastBytes) {
    throw new EngineError(
      'budget',
      `${freeBytes} bytes are free for weights; a ring of ${problem.leastBytes / slotBytes} slots of ${slotBytes} bytes needs ` +
        `${problem.leastBytes}. Raise gpuBudget or lower contextTokens.`,
    );
  }
  const policy = policyFor(problem, freeBytes);
  return place(problem, freeBytes, choose(problem, policy, freeBytes));
}

/** Units that are the same to the planner. `members`: their indices, in order. */
type Kind = { cost: number; slots: number; members: number[] };

type Problem = {
  units: TimelineUnit[];
  slotBytes: number;
  speeds: Speeds;
  kinds: Kind[];
  /** All units resident. */
  totalBytes: number;
  /** Nothing but the smallest ring, and the units that cannot stream. */
  leastBytes: number;
};

function problemOf(given: readonly TimelineUnit[], options: ResidencyOptions): Problem {
  const perMs = nominalSpeeds.computeBytesPerMs!;
  const units = given.map((unit) => ({
    ...unit,
    streamed: unit.slots > 0 && unit.bytes > 0,
    computeMs: options.speeds ? unit.computeMs : unit.bytes / perMs,
  }));
  const kinds = new Map<string, Kind>();
  for (const [index, unit] of units.entries()) {
    if (!unit.streamed) continue;
    const name = `${unit.bytes} ${unit.slots}`;
    const kind = kinds.get(name) ?? { cost: pinnedCost(unit), slots: unit.slots, members: [] };
    kind.members.push(index);
    kinds.set(name, kind);
  }
  const all = units.map(({ streamed }) => streamed);
  const ring = Math.max(smallestRing(units), options.smallestRing ?? 0);
  return {
    units,
    slotBytes: options.slotBytes,
    speeds: options.speeds ?? nominalSpeeds,
    kinds: [...kinds.values()],
    totalBytes: units.reduce((sum, unit) => sum + pinnedCost(unit), 0),
    leastBytes: pinnedBytes(units, all) + ring * options.slotBytes,
  };
}

/** A state of the order: how many of each kind are pinned, what they cost, and a ring that serves whichever of them it is. */
type Step = { pinned: Uint16Array; cost: number; ring: number };
/** `fills`: units out of order may use what is left. `depth`: slots beyond the minimum. */
type Policy = { steps: Step[]; fills: boolean; depth: number };
/** How many of each kind are pinned, and the most slots that the ring may have. */
type Choice = { pinned: Uint16Array; cost: number; mostSlots: number };

// --- Orders ---------------------------------------------------------------------------------------------------------------------

/** Kinds, by index, one entry per unit to pin. */
type Order = number[];

function ordersOf({ kinds }: Problem): { order: Order; largestFirst: boolean }[] {
  const indices = kinds.map((_, i) => i);
  const bySlots = (sign: number) =>
    indices.toSorted((a, b) => sign * (kinds[b]!.slots - kinds[a]!.slots || kinds[b]!.cost - kinds[a]!.cost));
  const oneByOne = (list: number[]) => list.flatMap((kind) => kinds[kind]!.members.map(() => kind));
  const together = indices.filter((kind) => isRun(kinds[kind]!.members));
  const others = indices.filter((kind) => !together.includes(kind));
  const candidates = [
    proportional(kinds, indices),
    // Slices of the head lie together at the end; streaming them all there is a burst of reads that nothing hides.
    [...oneByOne(together), ...proportional(kinds, others)],
    oneByOne(bySlots(-1)),
  ].map((order) => ({ order, largestFirst: false }));
  return [{ order: oneByOne(bySlots(1)), largestFirst: true }, ...candidates];
}

/** Several units that follow each other, as the head's slices do. */
function isRun(members: readonly number[]): boolean {
  return members.length > 1 && members.at(-1)! - members[0]! === members.length - 1;
}

/** All kinds at the same rate: next is the one of which the smallest share is pinned. */
function proportional(kinds: readonly Kind[], wanted: readonly number[]): Order {
  const entries = wanted.flatMap((kind) => kinds[kind]!.members.map((_, i, { length }) => ({ kind, share: (i + 0.5) / length })));
  const cost = (kind: number) => kinds[kind]!.cost;
  return entries.sort((a, b) => a.share - b.share || cost(b.kind) - cost(a.kind) || a.kind - b.kind).map(({ kind }) => kind);
}

/**
 * The ring of a step is a bound for every choice of members, and never grows along the order: the two largest units that still
 * stream. Pinning the largest first does with less: the neighbours that a pinned unit leaves are no larger than it was, so no pair
 * exceeds what the cycle needed when this kind began.
 */
function stepsOf({ units, kinds, totalBytes }: Problem, order: Order, largestFirst: boolean): Step[] {
  const streamed = units.map((unit) => unit.streamed);
  const fixed = totalBytes - kinds.reduce((sum, { cost, members }) => sum + cost * members.length, 0);
  const pinned = new Uint16Array(kinds.length);
  const ringNow = () => (largestFirst ? smallestRing(units, streamed) : twoLargest(kinds, pinned));
  const steps: Step[] = [{ pinned: pinned.slice(), cost: fixed, ring: ringNow() }];
  for (const [at, kind] of order.entries()) {
    const last = steps.at(-1)!;
    pinned[kind]!++;
    const kindEnds = order[at + 1] !== kind;
    if (largestFirst && kindEnds) for (const index of kinds[kind]!.members) streamed[index] = false;
    // Within a kind the bound of its beginning holds; one unit less than two needs a look of its own.
    const ring = largestFirst && !kindEnds ? Math.min(last.ring, twoLargest(kinds, pinned)) : ringNow();
    steps.push({ pinned: pinned.slice(), cost: last.cost + kinds[kind]!.cost, ring: Math.min(last.ring, ring) });
  }
  return steps;
}

function twoLargest(kinds: readonly Kind[], pinned: Uint16Array): number {
  let first = 0;
  let second = 0;
  for (const [i, { slots, members }] of kinds.entries()) {
    const left = members.length - pinned[i]!;
    if (left > 0 && slots > first) [first, second] = [slots, left > 1 ? slots : first];
    else if (left > 0) second = Math.max(second, slots);
  }
  return first + second;
}

// --- What a policy does with a budget -------------------------------------------------------------------------------------------

function choose(problem: Problem, { steps, fills, depth }: Policy, freeBytes: number): Choice {
  const { slotBytes, leastBytes } = problem;
  // Half of what comes beyond the minimum deepens the ring until it is deep enough; both halves grow, so pinning never shrinks.
  const reserve = Math.min(depth * slotBytes, (freeBytes - leastBytes) / 2);
  const usable = freeBytes - reserve;
  const step = steps.findLast(({ cost, ring }) => cost + ring * slotBytes <= usable);
  if (!step)
    return { pinned: steps[0]!.pinned, cost: steps[0]!.cost, mostSlots: Math.floor((freeBytes - steps[0]!.cost) / slotBytes) };
  const left = usable - step.cost - step.ring * slotBytes;
  const { pinned, cost } = fills ? fill(problem.kinds, step, left) : step;
  return { pinned, cost, mostSlots: Math.floor((freeBytes - cost) / slotBytes) };
}

/**
 * The most that x units of one kind and y of another can fill. A search over sets that do not depend on the space, so more space
 * never fills less; and it fills less than the order's next unit takes, which does not fit.
 */
function fill(kinds: readonly Kind[], step: Step, spaceBytes: number): { pinned: Uint16Array; cost: number } {
  const most = (kind: number, space: number) =>
    Math.min(kinds[kind]!.members.length - step.pinned[kind]!, Math.floor(space / kinds[kind]!.cost));
  let best = { bytes: 0, a: 0, x: 0, b: 0, y: 0 };
  for (const [a, { cost }] of kinds.entries()) {
    for (let x = most(a, spaceBytes); x > 0; x--) {
      for (const [b, other] of kinds.entries()) {
        const y = a === b ? 0 : most(b, spaceBytes - x * cost);
        const bytes = x * cost + y * other.cost;
        if (bytes > best.bytes) best = { bytes, a, x, b, y };
      }
    }
  }
  const pinned = step.pinned.slice();
  pinned[best.a]! += best.x;
  pinned[best.b]! += best.y;
  return { pinned, cost: step.cost + best.bytes };
}

// --- Which policy serves which budgets ------------------------------------------------------------------------------------------

/** Shares of the way from the least budget to everything resident, at which a range begins. */
const grid = [0.02, 0.15, 0.35, 0.55, 0.75, 0.88, 0.95, 0.98, 0.995];
/** Scores this close are equal, and the policy that pins more, which comes first, wins. */
const tie = 1e-3;

function policiesOf(problem: Problem): Policy[] {
  const seen = new Set<string>();
  return ordersOf(problem).flatMap(({ order, largestFirst }) => {
    const name = order.join();
    if (seen.has(name)) return [];
    seen.add(name);
    const steps = stepsOf(problem, order, largestFirst);
    const depths = new Set([0, Math.ceil(steps[0]!.ring / 2)]);
    return [...depths].map((depth) => ({ steps, fills: !largestFirst, depth }));
  });
}

/**
 * The sequence of policies, one for each range, with the least time relative to the best of each range. A range may change the
 * policy only to one that streams no more where it begins.
 */
function policyFor(problem: Problem, freeBytes: number): Policy {
  const policies = policiesOf(problem);
  const { leastBytes, totalBytes } = problem;
  const budgets = grid.map((share) => leastBytes + share * (totalBytes - leastBytes));
  /** For each policy: the score of the best sequence that ends with it. */
  let scores = policies.map(() => 0);
  /** For each range and policy: which policy comes before it. */
  const sources: number[][] = [];
  for (const budget of budgets) {
    const choices = policies.map((policy) => choose(problem, policy, budget));
    const times = choices.map(({ pinned, mostSlots }) => simulate(problem, spread(problem, pinned, phases[0]), mostSlots));
    const best = Math.min(...times);
    const before = scores;
    const from = policies.map((_, to) => (sources.length === 0 ? to : bestSource(before, choices, to)));
    scores = times.map((ms, to) => before[from[to]!]! + ms / best);
    sources.push(from);
  }
  let at = scores.reduce((least, score, i) => (score < scores[least]! - tie ? i : least), 0);
  const range = budgets.findLastIndex((budget) => budget <= freeBytes);
  for (let index = budgets.length - 1; index > range; index--) at = sources[index]![at]!;
  return policies[at]!;
}

function bestSource(scores: readonly number[], choices: readonly Choice[], to: number): number {
  const allowed = (from: number) => choices[to]!.cost >= choices[from]!.cost;
  return scores.reduce((best, score, from) => (allowed(from) && score < scores[best]! - tie ? from : best), to);
}

function simulate({ units, speeds }: Problem, streamed: readonly boolean[], slots: number): number {
  return simulatePass(
    units.map((unit, i) => ({ ...unit, streamed: streamed[i]! })),
    { slots },
    speeds,
  ).msPerToken;
}

// --- Which units of a kind ------------------------------------------------------------------------------------------------------

/** Where in its first gap each kind's first pinned unit lies, for kind number i; undefined: by bytes, over all kinds at once. */
const phases: (((kind: number) => number) | undefined)[] = [
  () => 0.5,
  () => 0,
  (kind) => (kind % 2) / 2,
  (kind) => (kind * 0.618) % 1,
  (kind) => 1 - ((kind * 0.618) % 1) / 1.001,
  undefined,
];

/** Which units stream when `pinned` of each kind, evenly spread over the kind's members, do not. */
function spread(problem: Problem, pinned: Uint16Array, phase: ((kind: number) => number) | undefined): boolean[] {
  if (!phase) return diffuse(problem, pinned);
  const streamed = problem.units.map((unit) => unit.streamed);
  for (const [kind, { members }] of problem.kinds.entries()) {
    const upTo = (j: number) => Math.floor((j * pinned[kind]!) / members.length + phase(kind));
    for (const [j, index] of members.entries()) if (upTo(j + 1) > upTo(j)) streamed[index] = false;
  }
  return streamed;
}

/** Error diffusion over cumulative bytes: pins a unit where the pinned share lags, as long as its kind has pins left. */
function diffuse({ units, kinds }: Problem, pinned: Uint16Array): boolean[] {
  const streamed = units.map((unit) => unit.streamed);
  const inOrder = kinds
    .flatMap(({ members }, kind) => members.map((index) => ({ index, kind })))
    .sort((a, b) => a.index - b.index);
  const pinsLeft = Array.from(pinned);
  const membersLeft = kinds.map(({ members }) => members.length);
  const total = kinds.reduce((sum, { cost, members }) => sum + cost * members.length, 0);
  const share = kinds.reduce((sum, { cost }, kind) => sum + cost * pinned[kind]!, 0) / total;
  let lag = 0;
  for (const { index, kind } of inOrder) {
    const { cost } = kinds[kind]!;
    lag += share * cost;
    const pin = pinsLeft[kind]! > 0 && (pinsLeft[kind] === membersLeft[kind] || lag >= cost / 2);
    membersLeft[kind]!--;
    if (!pin) continue;
    pinsLeft[kind]!--;
    lag -= cost;
    streamed[index] = false;
  }
  return streamed;
}

/** The fastest placement; among equals the smaller ring. All stream the same bytes. */
function place(problem: Problem, freeBytes: number, { pinned, cost, mostSlots }: Choice): Residency {
  let best: (Residency & { ms: number }) | undefined;
  for (const phase of phases) {
    const streamed = spread(problem, pinned, phase);
    const least = smallestRing(problem.units, streamed);
    const useful = problem.units.reduce((sum, { slots }, i) => sum + (streamed[i] ? slots : 0), 0);
    for (const ringSlots of new Set([least, Math.max(least, Math.min(mostSlots, useful))])) {
      const ms = simulate(problem, streamed, ringSlots);
      const faster = best && ms < best.ms * 0.999;
      const smaller = best && ms <= best.ms * 1.0005 && ringSlots < best.ringSlots;
      if (!best || faster || smaller) best = { streamed, ringSlots, ms };
    }
  }
  if (!best || cost + best.ringSlots * problem.slotBytes > freeBytes) {
    throw new EngineError('internal', `No placement of ${cost} pinned bytes fits ${freeBytes}; report this plan.`);
  }
  return { streamed: best.streamed, ringSlots: best.ringSlots };
}
