/**
 * Through the public API: devices lost while loading, in prefill and in decode, and a session saved by one page and restored by another: the
 * address with `?restore` is that other page.
 */
import { type ChatMessage, createEngine, type Engine, type EngineOptions, type Pressure, type Usage } from '../../src/api';
import type { TokenLogprob } from '../../src/protocol/chat';
import workerFile from './lasting.worker.ts?worker&url';

export type LastingReport = {
  results: Record<string, unknown>;
  /** The turn after the saved one. */
  next?: Reply;
  finished: boolean;
  broken?: string;
  unhandled: string[];
};
/** `logprobs`: with the 20 most likely tokens beside each of the reply's. */
type Reply = { text: string; logprobs: TokenLogprob[]; usage: Usage };

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

async function reply(
  engine: Engine,
  messages: ChatMessage[],
  onChunk: (nth: number) => void = () => {},
  more: { logprobs?: boolean; top_logprobs?: number } = {},
): Promise<Reply> {
  const stream = await engine.chat.completions.create({
    messages,
    stream: true,
    stream_options: { include_usage: true },
    max_tokens: 16,
    temperature: 1,
    seed: 4,
    ...more,
  });
  let text = '';
  const logprobs: TokenLogprob[] = [];
  let nth = 0;
  let usage: Usage | undefined;
  for await (const chunk of stream) {
    usage = chunk.usage ?? usage;
    logprobs.push(...(chunk.choices[0]?.logprobs?.content ?? []));
    const added = chunk.choices[0]?.delta.content;
    if (!added) continue;
    text += added;
    onChunk(++nth);
  }
  return { text, logprobs, usage: usage! };
}

const nextTurn = (engine: Engine, messages: ChatMessage[]) =>
  reply(engine, messages, undefined, { logprobs: true, top_logprobs: 20 });

const first: ChatMessage[] = [{ role: 'user', content: 'Tell a story about a fox.' }];

async function restore(): Promise<void> {
  const { results } = report;
  const other = await open();
  results['restored from'] = (await other.sessions.restore('a chat')).from;
  report.next = await nextTurn(other, JSON.parse(localStorage.getItem('next')!));
  results.listed = (await other.sessions.list()).map(({ id }) => id);
  await other.sessions.delete('a chat');
  results['listed after deleting'] = await other.sessions.list();
  results['restoring what was deleted'] = await other.sessions.restore('a chat').catch(({ code }: { code: string }) => code);
  await other.unload();
}

async function main(): Promise<void> {
  const { results } = report;
  const whole = await open();
  const straight = await reply(whole, first);
  const next: ChatMessage[] = [...first, { role: 'assistant', content: straight.text }, { role: 'user', content: 'And then?' }];
  results['words of a reply'] = straight.text.split(' ').length > 5;
  results['saved, its id'] = (await whole.sessions.save('a chat')).id;
  localStorage.setItem('next', JSON.stringify(next));
  report.next = await nextTurn(whole, next);
  await whole.unload();

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

(location.search === '?restore' ? restore() : main())
  .catch((error: unknown) => {
    report.broken = String(error);
  })
  .finally(() => {
    report.finished = true;
  });
