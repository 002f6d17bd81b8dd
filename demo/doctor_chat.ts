/** The bundled model through the public API, as any page uses it: workers, store, tokenizer, template, sampling, text. */
import { createEngine, type Engine } from '../src/api';
import type { Progress } from '../src/doctor/context';
import { knownReplies } from '../src/doctor/known_text';
import type { ChatFacts, Finding } from '../src/doctor/report';

/** On an adapter that takes a tenth of a second for a token. */
const fewTokens = 24;
const manyTokens = 256;

/** @throws what createEngine throws; AbortError */
export async function checkChat(
  modelUrl: string,
  say: (progress: Progress) => void,
  signal: AbortSignal,
): Promise<Finding<ChatFacts>> {
  const started = performance.now();
  const total = knownReplies.length + 1;
  const engine = await createEngine(new URL(modelUrl), {
    signal,
    onProgress: ({ progress, text }) => say({ done: progress, total, step: text }),
  });
  try {
    const replies: ChatFacts['replies'] = [];
    for (const [i, known] of knownReplies.entries()) {
      say({ done: i + 1, total, step: `asking: ${known.prompt}` });
      replies.push(await ask(engine, known, signal));
    }
    const { gpuBytes } = await engine.refreshInfo();
    const facts = { replies, storage: engine.plan.disk.home, gpuBytes };
    const problems = replies.filter(({ equal }) => !equal).map(({ prompt, got }) => `'${prompt}' was answered: ${got}`);
    const ms = performance.now() - started;
    const tokens = replies.reduce((sum, reply) => sum + reply.tokens, 0);
    return problems.length > 0
      ? { status: 'failed', summary: 'The model answers with another text than it should.', problems, ms, facts }
      : { status: 'passed', summary: `${tokens} tokens, word for word what they should be.`, problems, ms, facts };
  } finally {
    await engine.unload();
  }
}

type Known = (typeof knownReplies)[number];

async function ask(engine: Engine, { prompt, reply }: Known, signal: AbortSignal): Promise<ChatFacts['replies'][number]> {
  const { choices, usage, timings } = await engine.chat.completions.create({
    messages: [{ role: 'user', content: prompt }],
    temperature: 0,
    max_tokens: engine.info.adapter.isCpu ? fewTokens : manyTokens,
    signal,
  });
  const got = choices[0]!.message.content ?? '';
  const cut = choices[0]!.finish_reason === 'length';
  const equal = cut ? got.length > 0 && reply.startsWith(got) : got === reply;
  const { prefillMs, decodeMs } = timings!;
  return { prompt, tokens: usage!.completion_tokens, equal, ...(equal ? {} : { got }), prefillMs, decodeMs };
}
