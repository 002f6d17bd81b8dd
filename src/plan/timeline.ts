/**
 * How long a pass over the weights takes: an event simulation of one reader, one staging area and one GPU queue.
 *
 * - The reader fills staging windows one after another at the source's full rate (reads in flight share it). A window waits for its
 *   ring slot to be free and for a staging window whose last copy has ended.
 * - The GPU queue runs copies and compute in the order in which they were queued, never two at once. A copy is queued when its
 *   window has been read; a unit's compute once all its copies are queued and the unit before it is, but with at most
 *   `submitsAhead` submits unfinished, so that copies get their turn between them. Without that limit every copy would wait
 *   behind all compute already queued, staging would stay full, and nothing would overlap.
 * - A slot is free for the next copy as soon as its unit's last submit is queued: the queue keeps the order.
 * - The units form a cycle. Reads run across the end of a token; compute does not, because it needs the sampled id.
 */
import { EngineError } from '../errors';

const mib = 1024 * 1024;

/** What one piece of the computation needs. `slots` are of equal size, `bytes` spread evenly over them. */
export type TimelineUnit = {
  bytes: number;
  slots: number;
  streamed: boolean;
  computeMs: number;
  /** Submits that the compute is issued in, 1 by default; copies of later units run between them. */
  submits?: number;
};

export type Speeds = {
  readBytesPerMs: number;
  /** It was not measured. */
  readAssumed?: true;
  /** The copy step alone, from staging into the slot. */
  uploadBytesPerMs: number;
  /** Weights that compute passes over; callers derive `computeMs` of units from it. */
  computeBytesPerMs?: number;
  /** Fixed cost of a submit, paid on the CPU before the GPU sees it. */
  perUnitMs?: number;
  /** Fixed cost at a token's end: readback, sampling. */
  perTokenMs?: number;
};

/** One operation of the GPU queue; a trace lists them in the order of the queue. Units count from the start of the token. */
export type TraceEvent =
  | {
      op: 'copy';
      token: number;
      unit: number;
      slot: number;
      bytes: number;
      readStartMs: number;
      queuedMs: number;
      startMs: number;
      endMs: number;
    }
  | { op: 'compute'; token: number; unit: number; submit: number; queuedMs: number; startMs: number; endMs: number };

export type PassOptions = {
  windowBytes?: number;
  /** Whole windows of it are used; at least one. */
  stagingBytes?: number;
  /** Submits that may be queued and unfinished. */
  submitsAhead?: number;
  /** Collects every operation of every simulated token. */
  trace?: TraceEvent[];
};

export type PassTimeline = {
  /** Steady state. */
  msPerToken: number;
  /** From an empty ring and idle devices, the token's fixed cost included. */
  firstTokenMs: number;
  /** Per token, each alone at full speed. */
  readMs: number;
  uploadMs: number;
  computeMs: number;
  /** Of a speed that was: see `Speeds`. */
  readAssumed?: true;
  /** What overlap did not hide: msPerToken above the longest of the three. */
  stallMs: number;
  bound: 'read' | 'upload' | 'compute';
};

/**
 * Tokens are simulated until the same time comes twice, which it may never do exactly: at least this many at most, and more of a
 * small pass, which can take many tokens to fill a deep ring.
 */
const mostTokens = (operations: number): number => Math.max(10, Math.min(200, Math.floor(10_000 / operations)));

/**
 * Simulates tokens until their time is steady.
 * @throws EngineError 'budget' if a streamed unit has more slots than the ring.
 */
export function simulatePass(
  units: readonly TimelineUnit[],
  ring: { slots: number },
  speeds: Speeds,
  options: PassOptions = {},
): PassTimeline {
  const largest = units.reduce((most, unit) => (isStreamed(unit) ? Math.max(most, unit.slots) : most), 0);
  if (largest > ring.slots) {
    throw new EngineError(
      'budget',
      `A unit of ${largest} slots streams through a ring of ${ring.slots}. Enlarge the ring or the slots.`,
    );
  }
  const readBytes = units.reduce((sum, unit) => sum + (isStreamed(unit) ? unit.bytes : 0), 0);
  const readMs = readBytes / speeds.readBytesPerMs;
  const uploadMs = readBytes / speeds.uploadBytesPerMs;
  const computeMs = units.reduce((sum, unit) => sum + unit.computeMs, 0);
  const longest = Math.max(readMs, uploadMs, computeMs);
  const tokens = new PassSimulation(units, ring.slots, speeds, options).run();
  // An average of a few tokens may borrow from bytes read ahead, or pay for them; the long run does neither.
  const { perTokenMs = 0, perUnitMs = 0 } = speeds;
  const submits = units.reduce((sum, unit) => sum + (unit.submits ?? 1), 0);
  const least = Math.max(longest, uploadMs + computeMs, computeMs + perTokenMs);
  const most = readMs + uploadMs + computeMs + submits * perUnitMs + perTokenMs;
  const msPerToken = Math.min(Math.max(tokens.steadyMs, least), most);
  const bound = longest === readMs && readBytes > 0 ? 'read' : longest === computeMs ? 'compute' : 'upload';
  const assumed = speeds.readAssumed ? { readAssumed: speeds.readAssumed } : {};
  return {
    msPerToken,
    firstTokenMs: tokens.firstMs,
    readMs,
    ...assumed,
    uploadMs,
    computeMs,
    stallMs: msPerToken - longest,
    bound,
  };
}

/** The same pass with the time that tokens were seen to take, within which each part alone must have fitted. */
export function passAsSeen({ readAssumed: _, ...simulated }: PassTimeline, msPerToken: number): PassTimeline {
  const [readMs, uploadMs, computeMs] = [simulated.readMs, simulated.uploadMs, simulated.computeMs].map((ms) =>
    Math.min(ms, msPerToken),
  ) as [number, number, number];
  return { ...simulated, msPerToken, readMs, uploadMs, computeMs, stallMs: msPerToken - Math.max(readMs, uploadMs, computeMs) };
}

const isStreamed = (unit: TimelineUnit): boolean => unit.streamed && unit.bytes > 0 && unit.slots > 0;

/** A token's reads, in order. `opensSlot`: the first window of a slot; `closesUnit`: the last of a unit. */
type Windows = { count: number; unit: Int32Array; bytes: Float64Array; opensSlot: Uint8Array; closesUnit: Uint8Array };

function windowsOf(units: readonly TimelineUnit[], windowBytes: number): Windows {
  const perSlot = (unit: TimelineUnit) => Math.ceil(unit.bytes / unit.slots / windowBytes);
  const count = units.reduce((sum, unit) => sum + (isStreamed(unit) ? unit.slots * perSlot(unit) : 0), 0);
  const unitOf = new Int32Array(count);
  const bytes = new Float64Array(count);
  const opensSlot = new Uint8Array(count);
  const closesUnit = new Uint8Array(count);
  let at = 0;
  for (const [index, unit] of units.entries()) {
    if (!isStreamed(unit)) continue;
    const pieces = perSlot(unit);
    for (let window = 0; window < unit.slots * pieces; window++, at++) {
      unitOf[at] = index;
      bytes[at] = unit.bytes / unit.slots / pieces;
      opensSlot[at] = window % pieces === 0 ? 1 : 0;
    }
    closesUnit[at - 1] = 1;
  }
  return { count, unit: unitOf, bytes, opensSlot, closesUnit };
}

/** A token's compute submits, in order. */
type Submits = { count: number; unit: Int32Array; ms: Float64Array; nth: Int32Array; last: Uint8Array };

function submitsOf(units: readonly TimelineUnit[]): Submits {
  const count = units.reduce((sum, unit) => sum + (unit.submits ?? 1), 0);
  const unitOf = new Int32Array(count);
  const ms = new Float64Array(count);
  const nth = new Int32Array(count);
  const last = new Uint8Array(count);
  let at = 0;
  for (const [index, { computeMs, submits = 1 }] of units.entries()) {
    for (let i = 0; i < submits; i++, at++) {
      unitOf[at] = index;
      ms[at] = computeMs / submits;
      nth[at] = i;
    }
    last[at - 1] = 1;
  }
  return { count, unit: unitOf, ms, nth, last };
}

/**
 * Two streams of queue operations, copies and compute. The time at which each stream's next operation can be queued follows from
 * operations already simulated, or is Infinity while it waits for the other stream; the earlier one is queued.
 */
class PassSimulation {
  private readonly windows: Windows;
  private readonly submits: Submits;
  private readonly perUnitMs: number;
  private readonly perTokenMs: number;
  private readonly trace: TraceEvent[] | undefined;

  private gpuFreeMs = 0;

  // Copies: the next window, counted from 0 over all tokens.
  private nextWindow = 0;
  private windowToken = 0;
  private window = 0;
  private readMs = 0;
  private readonly stagingFreeMs: Float64Array;
  /** Infinity while a unit holds the slot. */
  private readonly slotFreeMs: Float64Array;
  private slotsTaken = 0;
  private slotsReleased = 0;
  /** When the copies of the n-th streamed unit were all queued, by n modulo the length; a ring holds no more units than slots. */
  private readonly unitQueuedMs: Float64Array;
  private unitsQueued = 0;

  // Compute.
  private submit = 0;
  private submitsQueued = 0;
  private token = 0;
  private unitsComputed = 0;
  private submittedMs = 0;
  private readonly submitEndMs: Float64Array;
  private tokenReadyMs = 0;

  constructor(
    private readonly units: readonly TimelineUnit[],
    private readonly slots: number,
    private readonly speeds: Speeds,
    options: PassOptions,
  ) {
    const windowBytes = options.windowBytes ?? 4 * mib;
    this.windows = windowsOf(units, windowBytes);
    this.submits = submitsOf(units);
    this.perUnitMs = speeds.perUnitMs ?? 0;
    this.perTokenMs = speeds.perTokenMs ?? 0;
    this.trace = options.trace;
    this.stagingFreeMs = new Float64Array(Math.max(1, Math.floor((options.stagingBytes ?? 16 * mib) / windowBytes)));
    this.slotFreeMs = new Float64Array(Math.max(1, slots));
    this.unitQueuedMs = new Float64Array(slots + 1);
    this.submitEndMs = new Float64Array(options.submitsAhead ?? 2);
  }

  run(): { firstMs: number; steadyMs: number } {
    const ends = [0];
    let lead = Number.NaN;
    if (this.submits.count === 0) return { firstMs: 0, steadyMs: 0 };
    const most = mostTokens(this.windows.count + this.submits.count);
    for (let token = 1; token <= most; token++) {
      this.runToken();
      ends.push(this.tokenReadyMs);
      const leadBefore = lead;
      lead = this.nextWindow - token * this.windows.count;
      if (token < 3 || lead !== leadBefore) continue;
      const [a, b, c] = ends.slice(-3) as [number, number, number];
      if (Math.abs(c - b - (b - a)) <= 1e-9 * (c - b)) return { firstMs: ends[1]!, steadyMs: c - b };
    }
    const half = Math.floor(ends.length / 2);
    return { firstMs: ends[1]!, steadyMs: (ends.at(-1)! - ends[half]!) / (ends.length - 1 - half) };
  }

  private runToken(): void {
    const { token } = this;
    while (this.token === token) {
      const copyMs = this.windows.count > 0 ? this.copyReadyMs() : Number.POSITIVE_INFINITY;
      const computeMs = this.computeReadyMs();
      if (copyMs === Number.POSITIVE_INFINITY && computeMs === copyMs) {
        throw new EngineError(
          'internal',
          `The ring of ${this.slots} slots never frees one for token ${token}; report this plan.`,
        );
      }
      if (copyMs <= computeMs) this.queueCopy(copyMs);
      else this.queueCompute(computeMs);
    }
  }

  private readStartMs(): number {
    const stagingMs = this.stagingFreeMs[this.nextWindow % this.stagingFreeMs.length]!;
    const slotMs = this.windows.opensSlot[this.window] === 1 ? this.slotFreeMs[this.slotsTaken % this.slots]! : 0;
    return Math.max(this.readMs, stagingMs, slotMs);
  }

  private copyReadyMs(): number {
    return this.readStartMs() + this.windows.bytes[this.window]! / this.speeds.readBytesPerMs;
  }

  private queueCopy(queuedMs: number): void {
    const { windows, window, slotFreeMs } = this;
    const readStartMs = this.trace ? this.readStartMs() : 0;
    if (windows.opensSlot[window] === 1) slotFreeMs[this.slotsTaken++ % this.slots] = Number.POSITIVE_INFINITY;
    const bytes = windows.bytes[window]!;
    const startMs = Math.max(this.gpuFreeMs, queuedMs);
    const endMs = startMs + bytes / this.speeds.uploadBytesPerMs;
    this.gpuFreeMs = endMs;
    this.readMs = queuedMs;
    this.stagingFreeMs[this.nextWindow % this.stagingFreeMs.length] = endMs;
    if (windows.closesUnit[window] === 1) this.unitQueuedMs[this.unitsQueued++ % this.unitQueuedMs.length] = queuedMs;
    if (this.trace) {
      const slot = (this.slotsTaken - 1) % this.slots;
      const unit = windows.unit[window]!;
      this.trace.push({ op: 'copy', token: this.windowToken, unit, slot, bytes, readStartMs, queuedMs, startMs, endMs });
    }
    this.nextWindow++;
    this.window++;
    if (this.window === windows.count) {
      this.window = 0;
      this.windowToken++;
    }
  }

  private computeReadyMs(): number {
    const { submits, submit, submitEndMs } = this;
    // Submits of the past are at or before `submittedMs`, and 0 stands for those before the first.
    let readyMs = Math.max(this.submittedMs, submitEndMs[this.submitsQueued % submitEndMs.length]!);
    if (submit === 0) readyMs = Math.max(readyMs, this.tokenReadyMs);
    if (submits.nth[submit] === 0 && isStreamed(this.units[submits.unit[submit]!]!)) {
      if (this.unitsComputed === this.unitsQueued) return Number.POSITIVE_INFINITY;
      readyMs = Math.max(readyMs, this.unitQueuedMs[this.unitsComputed % this.unitQueuedMs.length]!);
    }
    return readyMs + this.perUnitMs;
  }

  private queueCompute(queuedMs: number): void {
    const { submits, submit, submitEndMs } = this;
    const index = submits.unit[submit]!;
    const startMs = Math.max(this.gpuFreeMs, queuedMs);
    const endMs = startMs + submits.ms[submit]!;
    this.gpuFreeMs = endMs;
    this.submittedMs = queuedMs;
    submitEndMs[this.submitsQueued++ % submitEndMs.length] = endMs;
    if (submits.last[submit] === 1 && isStreamed(this.units[index]!)) this.releaseSlots(this.units[index]!.slots, queuedMs);
    this.trace?.push({ op: 'compute', token: this.token, unit: index, submit: submits.nth[submit]!, queuedMs, startMs, endMs });
    if (++this.submit < submits.count) return;
    this.submit = 0;
    this.token++;
    this.tokenReadyMs = endMs + this.perTokenMs;
  }

  private releaseSlots(count: number, freeMs: number): void {
    for (let slot = 0; slot < count; slot++) this.slotFreeMs[this.slotsReleased++ % this.slots] = freeMs;
    this.unitsComputed++;
  }
}
