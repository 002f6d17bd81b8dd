/**
 * Tokens per second of one engine in its worker, in turn while this page shows nothing and while it shows a reply of 4,000 tokens of
 * Markdown at 200 tokens/s with the chat page's own code. The query: `preset`, `pairs`, `seconds` that a run is to take, `precision` and
 * `budget` of the engine, `post`: where the results go as JSON when all is over, an error included.
 */
import { wrap } from 'comlink';
import { MarkdownStream } from '../../../demo/markdown/markdown_stream';
import { ScrollFollow } from '../../../demo/scroll_follow';
import { createEngine, type Engine, type EngineConfig } from '../../../src/api';
import { smallShapes } from '../../../src/bench/preset';
import { summarise } from '../../../src/bench/statistics';
import { type PresetName, presetShapes } from '../../../src/synth/presets';
import { CHARACTERS_PER_SECOND, longReply } from '../../browser/long_reply';
import type { ModelWriter } from './model.worker';
import ModelWorker from './model.worker?worker';

const FOLDER = 'bench-rendering';
const query = new URL(location.href).searchParams;
const element = (id: string) => document.getElementById(id)!;

/** `frames`: in which the page ran; `characters`: shown until the last token. */
type Run = { tokensPerSecond: number; tokens: number; requests: number; seconds: number; frames: number; characters: number };
type Pair = { first: 'bare' | 'shown'; bare: Run; shown: Run };

const follow = new ScrollFollow(element('scroller'), element('jump'), element('scroller'));

const outcome = run().catch((error: Error) => ({ error: `${error.name}: ${error.message}` }));
Object.assign(globalThis, { outcome });
void outcome.then(hand);

async function hand(result: object): Promise<void> {
  element('out').textContent = JSON.stringify(result, null, 1);
  const post = query.get('post');
  if (post) await fetch(post, { method: 'POST', body: JSON.stringify(result) });
}

async function run(): Promise<object> {
  const preset = (query.get('preset') ?? 'qwen3.5-0.8b') as PresetName;
  const small = await isSoftware();
  const shapes = small ? smallShapes(presetShapes(preset)) : presetShapes(preset);
  say(`${preset}: writing weights`);
  const modelBytes = await write(shapes);
  const engine = await load();
  try {
    const { tokens, tokensPerSecond } = await calibrate(engine, small ? 2 : Number(query.get('seconds') ?? 20));
    const pairs = await measure(engine, tokens, Number(query.get('pairs') ?? (small ? 2 : 10)));
    const { adapter, variants } = engine.info;
    const about = { bench: 'rendering', userAgent: navigator.userAgent, preset, small, modelBytes, adapter, variants };
    return { ...about, tokens, warmTokensPerSecond: tokensPerSecond, ...summaryOf(pairs), pairs };
  } finally {
    await engine.unload();
    await (await navigator.storage.getDirectory()).removeEntry(FOLDER, { recursive: true });
  }
}

/** Chromium's name for it; a model's own shapes would take it hours. */
async function isSoftware(): Promise<boolean> {
  const adapter = await navigator.gpu?.requestAdapter();
  return /swiftshader/i.test(`${adapter?.info.architecture} ${adapter?.info.description}`);
}

async function write(shapes: ReturnType<typeof presetShapes>): Promise<number> {
  const worker = new ModelWorker();
  try {
    return await wrap<ModelWriter>(worker).write({ shapes, bits: 4 }, FOLDER);
  } finally {
    worker.terminate();
  }
}

async function load(): Promise<Engine> {
  const config: EngineConfig = {
    contextTokens: 16384,
    ...(query.has('budget') ? { gpuBudget: query.get('budget')! } : {}),
    ...(query.get('precision') === 'fast' ? { precision: 'fast' } : {}),
  };
  const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle(FOLDER);
  let said = '';
  return createEngine(folder, {
    ...config,
    onProgress: ({ phase, text }) => {
      if (phase !== said) say(text);
      said = phase;
    },
  });
}

/** Also compiles, allocates and loads what is loaded on demand, on both sides. @returns tokens that take about `seconds`. */
async function calibrate(engine: Engine, seconds: number): Promise<{ tokens: number; tokensPerSecond: number }> {
  await decode(engine, 64, true);
  const { tokensPerSecond } = await decode(engine, 256, false);
  return { tokens: Math.min(Math.max(32, Math.round(tokensPerSecond * seconds)), 16000), tokensPerSecond };
}

/** Which side is first changes with every pair, as a machine's speed drifts. */
async function measure(engine: Engine, tokens: number, count: number): Promise<Pair[]> {
  const pairs: Pair[] = [];
  for (let i = 0; i < count; i++) {
    const first = i % 2 === 0 ? 'bare' : 'shown';
    const one = await decode(engine, tokens, first === 'shown');
    const other = await decode(engine, tokens, first !== 'shown');
    pairs.push(first === 'bare' ? { first, bare: one, shown: other } : { first, shown: one, bare: other });
    say(`pair ${i + 1} of ${count}: ${JSON.stringify(pairs.at(-1))}`);
  }
  return pairs;
}

/**
 * The same tokens every time: one prompt, the same seeds, another request where a reply ends by itself. What the engine says arrives here
 * on both sides, as at any page.
 */
async function decode(engine: Engine, tokens: number, show: boolean): Promise<Run> {
  const replay = show ? new Replay() : undefined;
  let [made, ms, requests] = [0, 0, 0];
  while (made < tokens) {
    const request = { prompt: 'Once upon a time', max_tokens: tokens - made, seed: ++requests, stream: true } as const;
    let timings: { decodeTokens: number; decodeMs: number } | undefined;
    for await (const chunk of await engine.completions.create(request)) {
      replay?.start();
      timings = chunk.timings ?? timings;
    }
    made += timings!.decodeTokens + 1; // the first one is prefill's
    ms += timings!.decodeMs;
  }
  const seen = replay?.end() ?? { frames: 0, characters: 0 };
  return { tokensPerSecond: ((made - requests) / ms) * 1000, tokens: made, requests, seconds: ms / 1000, ...seen };
}

/** The reply on the page, again and again for as long as the engine decodes. */
class Replay {
  #stream: MarkdownStream | undefined;
  #timer = 0;
  #frames = 0;
  #characters = 0;

  start(): void {
    if (this.#timer !== 0) return;
    follow.toEnd();
    let [at, begun] = [0, performance.now()];
    this.#timer = window.setInterval(() => {
      if (at >= longReply.length) {
        this.#stream!.clear();
        [at, begun] = [0, performance.now()];
      }
      this.#stream ??= new MarkdownStream(element('reply'), () => follow.contentChanged());
      const due = Math.ceil(((performance.now() - begun) / 1000) * CHARACTERS_PER_SECOND);
      this.#stream.append(longReply.slice(at, due));
      this.#characters += Math.min(due, longReply.length) - at;
      at = due;
    }, 5);
    const frame = () => {
      this.#frames++;
      if (this.#timer !== 0) requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  end(): { frames: number; characters: number } {
    clearInterval(this.#timer);
    this.#timer = 0;
    this.#stream?.clear();
    return { frames: this.#frames, characters: this.#characters };
  }
}

function summaryOf(pairs: readonly Pair[]) {
  const slowdowns = pairs.map(({ bare, shown }) => 1 - shown.tokensPerSecond / bare.tokensPerSecond);
  const of = (side: 'bare' | 'shown') => summarise(pairs.map((pair) => pair[side].tokensPerSecond)).median;
  return {
    medians: { bare: of('bare'), shown: of('shown') },
    slowdown: {
      median: summarise(slowdowns).median,
      least: Math.min(...slowdowns),
      most: Math.max(...slowdowns),
      each: slowdowns,
    },
  };
}

function say(text: string): void {
  element('out').textContent = text;
  if (query.has('post')) void fetch('/log', { method: 'POST', body: text }).catch(() => {});
}
