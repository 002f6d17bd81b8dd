/** When what streams in is drawn, on a clock of its own with 60 frames a second, in whole milliseconds. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { cancelWork, isWaiting, requestWork, type Work } from '../../demo/frame_work';

const FRAME_MS = 16;
const page = vi.hoisted(() => {
  const made = {
    hidden: false,
    turned: () => {},
    addEventListener: (_: string, run: () => void) => Object.assign(made, { turned: run }),
  };
  vi.stubGlobal('document', made);
  return made;
});
let inFrame = false;

/** One stream of text: what has arrived is shown with the next draw. */
class Stream implements Work {
  readonly draws: number[] = [];
  readonly drawnInFrame: boolean[] = [];
  #arrived: number[] = [];
  /** From arriving to being drawn. */
  readonly waits: number[] = [];

  /** `stepMs`: what each of its steps takes. */
  constructor(
    private steps = 0,
    private stepMs = 0,
  ) {}

  arrive(soon = this.draws.length === 0): void {
    this.#arrived.push(performance.now());
    requestWork(this, { soon });
  }

  step(): boolean {
    vi.advanceTimersByTime(this.stepMs);
    return this.steps-- > 0;
  }

  draw(): void {
    const now = performance.now();
    this.draws.push(now);
    this.drawnInFrame.push(inFrame);
    this.waits.push(...this.#arrived.map((at) => now - at));
    this.#arrived = [];
  }

  get between(): number[] {
    return this.draws.slice(1).map((at, i) => at - this.draws[i]!);
  }
}

beforeAll(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  vi.stubGlobal('requestAnimationFrame', (run: () => void) => {
    const frame = () => {
      inFrame = true;
      if (!page.hidden) run();
      inFrame = false;
    };
    return setTimeout(frame, FRAME_MS - (performance.now() % FRAME_MS));
  });
  vi.stubGlobal('cancelAnimationFrame', clearTimeout);
});
afterAll(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});
beforeEach(() => {
  page.hidden = false;
});
/** What was asked for is done, and long ago. */
afterEach(() => void vi.advanceTimersByTime(1000));

describe('text that streams in', () => {
  test.each([1, 5, 20])('a piece every %i ms is drawn 14 to 20 times a second, none waits long', (every) => {
    const stream = new Stream();
    for (let ms = 0; ms < 3000; ms += every) {
      stream.arrive();
      vi.advanceTimersByTime(every);
    }
    expect(stream.draws.length).toBeGreaterThan(3 * 14);
    expect(stream.draws.length).toBeLessThan(3 * 20);
    expect(Math.min(...stream.between)).toBeGreaterThan(50);
    expect(Math.max(...stream.waits)).toBeLessThan(50 + 2 * FRAME_MS);
  });

  test('what comes slower is drawn in the next frame', () => {
    const stream = new Stream();
    for (let i = 0; i < 20; i++) {
      stream.arrive();
      vi.advanceTimersByTime(100);
    }
    expect(stream.draws).toHaveLength(20);
    expect(Math.max(...stream.waits)).toBeLessThan(FRAME_MS + 1);
  });

  test("a reply's first word waits for no other reply", () => {
    const [one, other] = [new Stream(), new Stream()];
    one.arrive();
    vi.advanceTimersByTime(FRAME_MS + 1);
    expect(one.draws).toHaveLength(1);
    one.arrive();
    vi.advanceTimersByTime(1);
    other.arrive();
    vi.advanceTimersByTime(FRAME_MS + 1);
    expect(other.draws).toHaveLength(1);
    expect(one.draws).toHaveLength(2);
  });
});

test('more than a frame can take goes on in the next frame', () => {
  const stream = new Stream(20, 2);
  stream.arrive();
  vi.advanceTimersByTime(1000);
  expect(stream.draws.length).toBeGreaterThan(5);
  expect(Math.max(...stream.between)).toBeLessThan(2 * FRAME_MS + 1);
});

test('the first words are drawn before anything is painted without them, all others between frames, which paint them', () => {
  const stream = new Stream(20, 2);
  stream.arrive();
  vi.advanceTimersByTime(1000);
  for (let i = 0; i < 20; i++) {
    stream.arrive();
    vi.advanceTimersByTime(20);
  }
  expect(stream.draws.length).toBeGreaterThan(10);
  expect(stream.drawnInFrame.indexOf(false)).toBe(1);
  expect(stream.drawnInFrame.lastIndexOf(true)).toBe(0);
});

test('a hidden tab, where no frames come, goes on', () => {
  const stream = new Stream();
  page.hidden = true;
  for (let ms = 0; ms < 1000; ms += 10) {
    stream.arrive();
    vi.advanceTimersByTime(10);
  }
  expect(stream.draws.length).toBeGreaterThan(10);
  expect(Math.max(...stream.waits)).toBeLessThan(70);
});

test('what waits for a frame when the tab is hidden does not wait for it to come back', () => {
  const stream = new Stream();
  stream.arrive();
  page.hidden = true;
  page.turned();
  vi.advanceTimersByTime(60);
  expect(stream.draws).toHaveLength(1);
});

test.each(['first', 'last'])('where one fails the others go on: %s', (place) => {
  const [broken, other] = [new Stream(), new Stream()];
  broken.step = () => {
    throw new Error('broken');
  };
  for (const stream of place === 'first' ? [broken, other] : [other, broken]) stream.arrive();
  expect(() => vi.advanceTimersByTime(FRAME_MS + 1)).toThrow('broken');
  vi.advanceTimersByTime(2 * FRAME_MS);
  expect(other.draws).toHaveLength(1);
  expect(isWaiting(broken)).toBe(false);
});

test('while the device rests nothing is asked', () => {
  const stream = new Stream(1, 200);
  const asked = vi.spyOn(globalThis, 'requestAnimationFrame');
  const timers = vi.spyOn(globalThis, 'setTimeout');
  stream.arrive();
  vi.advanceTimersByTime(1000);
  expect(stream.draws).toHaveLength(2);
  expect(asked.mock.calls.length + timers.mock.calls.length).toBeLessThan(10);
  asked.mockRestore();
  timers.mockRestore();
});

test('what was cancelled is not drawn', () => {
  const stream = new Stream();
  stream.arrive();
  expect(isWaiting(stream)).toBe(true);
  cancelWork(stream);
  vi.advanceTimersByTime(1000);
  expect(isWaiting(stream)).toBe(false);
  expect(stream.draws).toEqual([]);
});
