/** The public API as a page uses it, good and bad: every promise settles, every error is one of the family. */
import {
  type ChatCompletionChunk,
  createEngine,
  deleteModel,
  downloadModel,
  type Engine,
  type LoadProgress,
  listModels,
  type ModelRef,
  planModel,
} from '../../src/api';

export type ApiReport = { results: Record<string, unknown>; finished: boolean; broken?: string; unhandled: string[] };

declare global {
  interface Window {
    apiReport?: ApiReport;
  }
}

const model = new URL('../../demo/model/', location.href);
const messages = [{ role: 'user' as const, content: 'Tell a story about a fox.' }];
const report: ApiReport = { results: {}, finished: false, unhandled: [] };
window.apiReport = report;
addEventListener('unhandledrejection', ({ reason }) => report.unhandled.push(String(reason)));

/** The code of what was thrown, or 'hangs'. */
async function outcome(run: () => Promise<unknown>, seconds = 60): Promise<unknown> {
  const late = new Promise((resolve) => setTimeout(() => resolve('hangs'), seconds * 1000));
  const settled = run().then(
    (value) => value ?? 'resolved',
    (error: { name: string; code?: unknown }) => (error.name === 'EngineError' ? error.code : error.name),
  );
  return Promise.race([settled, late]);
}

async function collect(stream: AsyncIterable<ChatCompletionChunk>): Promise<string> {
  let text = '';
  for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
  return text;
}

async function main(): Promise<void> {
  const { results } = report;
  const bad = (ref: unknown, options = {}) => outcome(() => createEngine(ref as ModelRef, options));
  results['an impossible URL'] = await bad('https://');
  results['a hub id that is none'] = await bad('../x/y');
  results['an unknown option'] = await bad(model, { contextToken: 100 });
  results['a wrong option'] = await bad(model, { kv: 'q8' });
  results['a budget that is none'] = await bad(model, { gpuBudget: '4 gigs' });
  results['a budget far too small'] = await bad(model, { gpuBudget: '1MB' });
  results['Headers in place of an object'] = await bad(model, { headers: new Headers() });
  results['a folder without a model'] = await bad(new URL('../fixtures/configs/', location.href));
  results['an aborted signal'] = await bad(model, { signal: AbortSignal.abort() });
  results['an abort while loading'] = await outcome(() => {
    const controller = new AbortController();
    return createEngine(model, { signal: controller.signal, onProgress: () => controller.abort() });
  });

  await withoutEngine(results);
  const progress: LoadProgress[] = [];
  const engine = await createEngine(model, { contextTokens: 512, onProgress: (p) => progress.push(p) });
  results['progress never falls'] = progress.every((p, i) => i === 0 || p.progress >= progress[i - 1]!.progress);
  results['progress ends ready'] = progress.at(-1)?.phase;
  const { gpu, gpuBudgetBytes } = engine.plan;
  results['the plan adds up'] = Object.entries(gpu).reduce((sum, [use, bytes]) => sum + (use === 'total' ? -bytes : bytes), 0);
  results['the plan is within its budget'] = gpu.total <= gpuBudgetBytes!;
  results['deleting what runs'] = await outcome(async () => deleteModel((await listModels())[0]!.id));
  await requests(engine, results);
  await lifecycle(engine, results);
  await hostileTemplate(results);
  report.finished = true;
}

/** Plans, downloads and stored models, each in a worker of its own. */
async function withoutEngine(results: Record<string, unknown>): Promise<void> {
  const plan = await planModel(model, { contextTokens: 512 });
  const least = await planModel(model, { contextTokens: 512, gpuBudget: plan.smallestBudgetBytes });
  results['a plan of the smallest budget'] = least.gpu.total <= plan.smallestBudgetBytes && least.streamedBytesPerToken > 0;
  const less = { contextTokens: 512, gpuBudget: plan.smallestBudgetBytes - 1 };
  results['a plan of one byte less'] = await outcome(() => planModel(model, less));
  results['a plan of nothing'] = await outcome(() => planModel(new URL('../fixtures/configs/', location.href)));
  for (const { id } of await listModels()) await deleteModel(id);
  results['an empty store'] = await listModels();
  const stop = new AbortController();
  const cancelled = downloadModel(model, {
    signal: stop.signal,
    onProgress: ({ phase }) => phase === 'download' && stop.abort(),
  });
  results['a cancelled download'] = await outcome(() => cancelled.done);
  const phases = new Set<string>();
  const download = downloadModel(model, { onProgress: ({ phase }) => phases.add(phase) });
  download.pause();
  setTimeout(download.resume, 500);
  results['a download, paused and resumed'] = await outcome(() => download.done);
  results['its phases'] = [...phases];
  const stored = await listModels();
  results['what is stored'] = stored.map(({ complete, inUse }) => ({ complete, inUse }));
  results['deleting it'] = await outcome(() => deleteModel(stored[0]!.id));
  results['deleting it again'] = await outcome(() => deleteModel(stored[0]!.id));
}

/** The bundled model as the files of a folder, with a template that never ends for one message. */
async function hostileTemplate(results: Record<string, unknown>): Promise<void> {
  const names = ['config.json', 'generation_config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'];
  const files = await Promise.all(names.map(async (name) => new File([await (await fetch(new URL(name, model))).blob()], name)));
  const loops = '{% for a in range(9999) %}{% for b in range(9999) %}{% if a + b < 0 %}x{% endif %}{% endfor %}{% endfor %}';
  const template = `{% if messages[0].content == 'bad' %}${loops}{% endif %}{{ messages[0].content }}`;
  const engine = await createEngine([...files, new File([template], 'chat_template.jinja')], {
    contextTokens: 64,
    textTimeoutMs: 500,
  });
  const ask = (content: string) => engine.chat.completions.create({ messages: [{ role: 'user', content }], max_tokens: 2 });
  results['a template that never ends'] = await outcome(() => ask('bad'));
  results['the request after it'] = await outcome(async () => void (await ask('Once upon a time')));
  await engine.unload();
}

async function requests(
  { chat, completions, embeddings, interruptGenerate, tokenize }: Engine,
  results: Record<string, unknown>,
): Promise<void> {
  const { create } = chat.completions;
  const short = { messages, temperature: 0, max_tokens: 4 };
  const whole = await create(short);
  results['a whole reply'] = whole.choices[0]?.message.content;
  results['its usage'] = whole.usage;
  results['the same, streamed'] = await collect(await create({ ...short, stream: true }));
  results['a completion'] = (
    await completions.create({ prompt: 'Once upon a time', temperature: 0, max_tokens: 3 })
  ).choices[0]?.text;
  results['tools: undefined'] = await outcome(async () => void (await create({ ...short, tools: undefined } as never)));
  results['tools: []'] = await outcome(() => create({ ...short, tools: [] } as never));
  results['no request'] = await outcome(() => create(null as never));
  results['content missing'] = await outcome(() => create({ messages: [{ role: 'user' }] } as never));
  results['an image'] = await outcome(() => create({ messages: [{ role: 'user', content: [{ type: 'image_url' }] }] } as never));
  results['a function in a message'] = await outcome(() =>
    create({ messages: [{ ...messages[0], content: 'x', name: () => {} }] } as never),
  );
  results['a signal that is none'] = await outcome(() => create({ ...short, signal: {} } as never));
  results['text that is none'] = await outcome(() => tokenize(5 as never));
  results['a prompt too long'] = await outcome(() => create({ messages: [{ role: 'user', content: 'word '.repeat(600) }] }));
  for (const leave of ['break', 'return before next'] as const) {
    const stream = await create({ messages, temperature: 0, max_tokens: 400, stream: true });
    if (leave === 'break') for await (const _ of stream) break;
    else await stream[Symbol.asyncIterator]().return?.();
    const started = performance.now();
    await create({ ...short, max_tokens: 1 });
    results[`after ${leave}, the next request waits`] =
      performance.now() - started < 5000 ? 'not long' : performance.now() - started;
  }
  const controller = new AbortController();
  const cancelled = outcome(async () =>
    collect(await create({ messages, max_tokens: 400, stream: true, signal: controller.signal })),
  );
  setTimeout(() => controller.abort(), 300);
  results['a cancelled stream'] = await cancelled;
  let last: unknown;
  for await (const { choices } of await create({ messages, temperature: 0, max_tokens: 400, stream: true })) {
    if (choices[0]?.delta.content) interruptGenerate();
    last = [choices[0]?.finish_reason, choices[0]?.interrupted];
  }
  results['an interrupted reply'] = last;
  results.embeddings = await outcome(() => embeddings.create());
}

async function lifecycle(engine: Engine, results: Record<string, unknown>): Promise<void> {
  const running = outcome(async () => collect(await engine.chat.completions.create({ messages, max_tokens: 400, stream: true })));
  const queued = outcome(() => engine.chat.completions.create({ messages, max_tokens: 1 }));
  const asked = outcome(() => engine.tokenize('x'.repeat(100_000)));
  const both = [engine.unload(), engine.unload()];
  results['running at unload'] = await running;
  results['queued at unload'] = await queued;
  results['tokenising at unload'] = await asked;
  results['unload twice'] = await outcome(() => Promise.all(both).then(() => undefined));
  results['a request after unload'] = await outcome(() => engine.chat.completions.create({ messages }));
}

main().catch((error: unknown) => {
  report.broken = String(error);
  report.finished = true;
});
