/** `generate`: a prompt's continuation, or a chat reply, streamed to stdout. */
import { EngineCore } from '../engine/engine_core';
import { restoreSession, type SessionFacts, saveSession } from '../engine/sessions';
import { EngineError } from '../errors';
import type { Usage } from '../protocol/chat';
import type { EngineConfig, GenerateRequest, SamplingValues } from '../protocol/engine';
import { SessionStore } from '../storage/sessions/session_store';
import { openModelSource } from '../stream/model_source';
import { createTextHost } from '../text/text_host';
import { decimal, disabledFeatures, oneOf, readOptions, required, wholeNumber } from './arguments';
import { openChoices } from './choices_file';
import { openDirectory } from './file_source';
import { openNodeGpu, reportSoftware } from './open_gpu';
import { plainDirectory } from './plain_directory';
import { streamingReport } from './streaming_report';
import { spawnTextWorker } from './text_worker_spawn';

const usage =
  'generate --model <dir> --prompt <text> [--chat] [--max-tokens n] [--temperature t] [--top-p p] [--top-k k] [--seed s] [--context n] [--chunk n] [--kv f16|f32] [--precision exact|fast] [--disable subgroups,f16] [--gpu-budget <bytes|4GB>] [--overflow error|truncate|stop] [--session <dir>] [--tune <file>] [--json]';

/** `script`: the file that serves as text worker when it is started as one (see serveTextWorker). */
export async function generate(args: readonly string[], script: string): Promise<void> {
  const o = readOptions(
    args,
    {
      model: 'text',
      prompt: 'text',
      chat: 'flag',
      'max-tokens': 'text',
      temperature: 'text',
      'top-p': 'text',
      'top-k': 'text',
      seed: 'text',
      context: 'text',
      chunk: 'text',
      kv: 'text',
      precision: 'text',
      disable: 'text',
      'gpu-budget': 'text',
      overflow: 'text',
      session: 'text',
      tune: 'text',
      json: 'flag',
    },
    usage,
  );
  const model = required('model', o.model, usage);
  const prompt = required('prompt', o.prompt, usage);
  const request: GenerateRequest = {
    prompt: o.chat
      ? { messages: [{ role: 'user', content: prompt }], templateKwargs: { enable_thinking: false } }
      : { text: prompt },
    sampling: definedOnly<SamplingValues>({
      temperature: decimal('temperature', o.temperature, { least: 0, most: 2 }),
      top_p: decimal('top-p', o['top-p'], { least: 1e-9, most: 1 }),
      top_k: wholeNumber('top-k', o['top-k'], { least: 0, most: 1 << 30 }),
      seed: wholeNumber('seed', o.seed, { least: Number.MIN_SAFE_INTEGER, most: Number.MAX_SAFE_INTEGER }),
    }),
    maxTokens: wholeNumber('max-tokens', o['max-tokens'], { least: 1, most: 1 << 24 }),
    stop: [],
  };
  const config = definedOnly<EngineConfig>({
    contextTokens: wholeNumber('context', o.context, { least: 1, most: 1 << 24 }),
    chunkTokens: wholeNumber('chunk', o.chunk, { least: 1, most: 512 }),
    kv: oneOf('kv', o.kv, ['f16', 'f32']),
    precision: oneOf('precision', o.precision, ['exact', 'fast']),
    gpuBudget: typeof o['gpu-budget'] === 'string' ? o['gpu-budget'] : undefined,
    contextOverflow: oneOf('overflow', o.overflow, ['error', 'truncate', 'stop']),
  });
  const disable = disabledFeatures(o.disable);
  const files = await openDirectory(model);
  (await files.open('tokenizer.json')).close(); // before minutes of loading: without one there is nothing to generate
  const gpu = await openNodeGpu({ disable });
  const text = createTextHost({ spawn: () => spawnTextWorker(script) });
  const source = await openModelSource(files);
  try {
    const choices = typeof o.tune === 'string' ? await openChoices(o.tune) : undefined;
    const core = await EngineCore.load({ gpu, model: source, text, choices }, config);
    reportSoftware(gpu);
    try {
      const session = typeof o.session === 'string' ? await openSession(o.session) : undefined;
      await session?.restore(core);
      const decoded = await stream(core, request);
      await session?.save(core);
      if (o.json || config.gpuBudget !== undefined) {
        const report = await streamingReport(core.session, decoded);
        console.log(JSON.stringify({ peakGpuBytes: gpu.memory.peakBytes, ...report, prediction: core.plan.prediction ?? null }));
      }
    } finally {
      core.destroy();
    }
  } finally {
    await source.close();
    text.dispose();
    files.close();
  }
}

/** One conversation's state in a folder: a later prompt that begins with what was read costs its new tokens. */
async function openSession(path: string) {
  const id = 'generate';
  const store = await SessionStore.open<SessionFacts>(await plainDirectory(path));
  return {
    async restore(core: EngineCore): Promise<void> {
      const known = (await store.list()).some((session) => session.id === id);
      if (!known) return;
      const { tokens, from } = await restoreSession(core, store, id);
      if (from === 'tokens') console.error(`The ${tokens} tokens kept in ${path} are read again: they were made differently.`);
    },
    save: (core: EngineCore) => saveSession(core, store, id),
  };
}

async function stream(core: EngineCore, request: GenerateRequest): Promise<{ tokens: number; ms: number }> {
  let decoded = { tokens: 0, ms: 0 };
  for await (const event of core.generate(request, new AbortController().signal)) {
    if (event.type === 'text' || event.type === 'reasoning') process.stdout.write(event.text);
    if (event.type === 'error') throw new EngineError('internal', event.error.message);
    if (event.type !== 'done') continue;
    const { prefillTokens, prefillMs, decodeTokens, decodeMs } = event.timings;
    decoded = { tokens: decodeTokens, ms: decodeMs };
    const rate = (tokens: number, ms: number) => (ms > 0 ? ((tokens / ms) * 1000).toFixed(1) : '-');
    process.stdout.write('\n');
    console.error(
      `${known(event.usage)}${prefillTokens} tokens in (${rate(prefillTokens, prefillMs)} per second), ${decodeTokens + 1} out (${rate(decodeTokens, decodeMs)} per second), ${event.finishReason}`,
    );
  }
  return decoded;
}

function known({ prompt_tokens_details: details }: Usage): string {
  return details?.cached_tokens ? `${details.cached_tokens} tokens known, ` : '';
}

function definedOnly<T extends object>(values: { [K in keyof T]?: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as T;
}
