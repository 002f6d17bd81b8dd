/** The public API, driven from outside one call at a time: what a test asks for, and plain data back. */
import {
  type Completion,
  createEngine,
  deleteModel,
  downloadModel,
  type Engine,
  type EngineConfig,
  type EngineInfo,
  type LoadProgress,
  listModels,
  type PlanReport,
  planModel,
  type StoredModel,
} from '../../src/api';

export type Failure = { code: string; message: string };
/** `atMs`: when each piece of text came, from the beginning of the request. `logprobs`: of the reply's tokens, where they were asked for. */
export type Answer = { text: string; atMs: number[]; totalMs: number; logprobs: number[]; timings: Completion['timings'] };
/** Of an answer to a model that is loaded for it: all times from the call of createEngine. */
export type FirstText = {
  text: string;
  readyMs: number;
  firstTextMs: number;
  timings: Completion['timings'];
  /** What was reported from createEngine's end to 'ready'. */
  later: Pick<LoadProgress, 'phase' | 'progress'>[];
};

declare global {
  interface Window {
    streaming?: typeof streaming;
  }
}

let engine: Engine | undefined;
const unhandled: string[] = [];
addEventListener('unhandledrejection', ({ reason }) => unhandled.push(String(reason)));

const heard: unknown[] = [];
new BroadcastChannel('sluice/v1/store').addEventListener('message', ({ data }) => void heard.push(data));

async function orFailure<T>(work: () => Promise<T>): Promise<T | Failure> {
  try {
    return await work();
  } catch (error) {
    const { name, message, code } = error as Error & { code?: string };
    return { code: code ?? name, message };
  }
}

/** Greedy. */
async function reply(prompt: string, maxTokens: number, logprobs?: number): Promise<Answer> {
  const started = performance.now();
  const request = { prompt, temperature: 0, seed: 1, max_tokens: maxTokens, logprobs: logprobs ?? null, stream: true as const };
  const answer: Answer = { text: '', atMs: [], totalMs: 0, logprobs: [], timings: undefined };
  for await (const { choices, timings } of await engine!.completions.create(request)) {
    const text = choices[0]?.text ?? '';
    answer.text += text;
    answer.logprobs.push(...(choices[0]?.logprobs?.token_logprobs ?? []));
    if (text) answer.atMs.push(performance.now() - started);
    answer.timings = timings ?? answer.timings;
  }
  answer.totalMs = performance.now() - started;
  return answer;
}

const streaming = {
  plan: (model: string, config: EngineConfig): Promise<PlanReport | Failure> => orFailure(() => planModel(model, config)),

  /** Resolves with the plan when the engine has loaded. */
  load: (model: string, config: EngineConfig): Promise<PlanReport | Failure> =>
    orFailure(async () => {
      engine = await createEngine(model, config);
      return engine.plan;
    }),

  ask: (prompt: string, maxTokens: number, logprobs?: number): Promise<Answer | Failure> =>
    orFailure(() => reply(prompt, maxTokens, logprobs)),

  firstText: (model: string, config: EngineConfig, prompt: string, maxTokens: number): Promise<FirstText | Failure> =>
    orFailure(async () => {
      const started = performance.now();
      const seen: FirstText['later'] = [];
      let allThere = () => {};
      const whenAllThere = new Promise<void>((resolve) => {
        allThere = resolve;
      });
      const onProgress = ({ phase, progress }: LoadProgress) => {
        seen.push({ phase, progress });
        if (phase === 'ready') allThere();
      };
      engine = await createEngine(model, { ...config, onProgress });
      const before = seen.length;
      const readyMs = performance.now() - started;
      const { text, atMs, timings } = await reply(prompt, maxTokens);
      await whenAllThere;
      return { text, readyMs, firstTextMs: readyMs + atMs[0]!, timings, later: seen.slice(before) };
    }),

  download: (model: string, config: EngineConfig): Promise<{ ms: number } | Failure> =>
    orFailure(async () => {
      const started = performance.now();
      await downloadModel(model, config).done;
      return { ms: performance.now() - started };
    }),

  info: (): Promise<EngineInfo> => engine!.refreshInfo(),
  unload: async (): Promise<void> => {
    await engine?.unload();
    engine = undefined;
  },
  list: (): Promise<StoredModel[]> => listModels(),
  remove: (id: string): Promise<Failure | undefined> => orFailure(() => deleteModel(id).then(() => undefined)),
  unhandled: () => unhandled,
  sharesMemory: () => typeof SharedArrayBuffer !== 'undefined' || crossOriginIsolated,
  /** Whatever other tabs say on the store's channel. */
  heard: () => heard,
};

window.streaming = streaming;
