/** Through the public API: devices lost while loading, in prefill and in decode, and a session saved by one engine and restored by another. */
import { type ChatMessage, createEngine, type Engine, type EngineOptions, type Pressure, type Usage } from '../../src/api';
import workerFile from './lasting.worker.ts?worker&url';

export type LastingReport = { results: Record<string, unknown>; finished: boolean; broken?: string; unhandled: string[] };

declare global {
  interface Window {
    lastingReport?: LastingReport;
  }
}

const model = new URL('../../demo/model/', location.href);
const report: LastingReport = { results: {}, finished: false, unhandled: [] };
window.lastingReport = report;
addEventListener('unhandledrejection', ({ reason }) => report.unhandled.push(String(reason)));
const channel = new BroadcastChannel('lose the device');
const loseDevice = () => channel.postMessage('now');
const said: Pressure['recovery'][] = [];

const open = (options: EngineOptions = {}): Promise<Engine> =>
  createEngine(model, {
    workerUrl: new URL(workerFile, import.meta.url),
    contextTokens: 300,
    onPressure: ({ recovery }) => said.push(recovery),
    ...options,
  });

async function reply(engine: Engine, messages: ChatMessage[], onChunk: (nth: number) => void = () => {}) {
  const stream = await engine.chat.completions.create({
    messages,
    stream: true,
    stream_options: { include_usage: true },
    max_tokens: 16,
    temperature: 1,
    seed: 4,
  });
  let text = '';
  let nth = 0;
  let usage: Usage | undefined;
  for await (const chunk of stream) {
    usage = chunk.usage ?? usage;
    const more = chunk.choices[0]?.delta.content;
    if (!more) continue;
    text += more;
    onChunk(++nth);
  }
  return { text, usage: usage! };
}

const first: ChatMessage[] = [{ role: 'user', content: 'Tell a story about a fox.' }];

async function main(): Promise<void> {
  const { results } = report;
  const whole = await open();
  const straight = await reply(whole, first);
  const next: ChatMessage[] = [...first, { role: 'assistant', content: straight.text }, { role: 'user', content: 'And then?' }];
  results['words of a reply'] = straight.text.split(' ').length > 5;
  results['saved, its id'] = (await whole.sessions.save('a chat')).id;
  const straightNext = await reply(whole, next);
  await whole.unload();

  const other = await open();
  results['restored from'] = (await other.sessions.restore('a chat')).from;
  const restoredNext = await reply(other, next);
  results['the next turn is the same'] = restoredNext.text === straightNext.text;
  const known = ({ usage }: { usage: Usage }) => usage.prompt_tokens_details!.cached_tokens!;
  results['and knows as much'] = known(restoredNext) - known(straightNext);
  results.listed = (await other.sessions.list()).map(({ id }) => id);
  await other.sessions.delete('a chat');
  results['listed after deleting'] = await other.sessions.list();
  results['restoring what was deleted'] = await other.sessions.restore('a chat').catch(({ code }: { code: string }) => code);
  await other.unload();

  let lost = false;
  const engine = await open({
    onProgress: ({ phase }) => {
      if (phase === 'weights' && !lost) loseDevice();
      lost ||= phase === 'weights';
    },
  });
  results['lost while loading'] = (await reply(engine, first)).text === straight.text;
  await engine.unload();

  const decoding = await open();
  results['lost in decode'] = (await reply(decoding, first, (nth) => nth === 6 && loseDevice())).text === straight.text;
  await decoding.unload();

  const reading = await open();
  const pending = reply(reading, first);
  setTimeout(loseDevice, 30);
  results['lost in prefill'] = (await pending).text === straight.text;
  await reading.unload();
  results['what was said'] = [...said];
}

main()
  .catch((error: unknown) => {
    report.broken = String(error);
  })
  .finally(() => {
    report.finished = true;
  });
