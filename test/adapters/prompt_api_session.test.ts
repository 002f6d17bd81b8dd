/** Sessions of the Prompt API in front of a small server, for what the bundled model never does by itself: call a tool. */
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { SessionCore } from '../../src/adapters/prompt_api/session';
import type { PromptTool } from '../../src/adapters/prompt_api/types';
import { createEndpointEngine, type Engine } from '../../src/api';
import { type OpenAiServer, startOpenAiServer } from '../servers/openai_server';

let server: OpenAiServer;
let engine: Pick<Engine, 'chat' | 'tokenize' | 'info'>;
beforeAll(async () => {
  server = await startOpenAiServer();
  const { chat } = await createEndpointEngine({ url: server.url }, { onFallback: () => true });
  const tokenize = async (text: string) => [...text].map((_, i) => i);
  engine = { chat, tokenize, info: { contextTokens: 1000 } as Engine['info'] };
});
beforeEach(() => {
  server.options.call = undefined;
  server.options.fault = undefined;
  server.asked.length = 0;
});
afterAll(() => server.close());

const session = (tools: PromptTool[] = []) => new SessionCore(engine, { temperature: 0, topK: undefined }, [], tools, () => {});
async function textOf(pieces: AsyncIterable<string>): Promise<string> {
  let text = '';
  for await (const piece of pieces) text += piece;
  return text;
}
const sent = (index: number) =>
  server.asked.filter(({ path }) => path.endsWith('completions'))[index]!.body!.messages as { role: string }[];

test('a tool runs, the model reads what it gave, and all of it joins the conversation', async () => {
  const execute = vi.fn(async ({ city }: { city: string }) => `Sun in ${city}`);
  const weather = { name: 'weather', description: '', inputSchema: { type: 'object' }, execute };
  server.options.call = (messages) =>
    messages.at(-1)!.role === 'user' ? { id: 'c1', name: 'weather', arguments: '{"city":"Paris"}' } : undefined;
  const core = session([weather]);
  expect(await textOf(core.reply('Sun?'))).toBe('You said: "Sun in Paris"');
  expect(execute).toHaveBeenCalledExactlyOnceWith({ city: 'Paris' });
  server.options.call = undefined;
  await textOf(core.reply('And now?'));
  expect(sent(2).map(({ role }) => role)).toEqual(['user', 'assistant', 'tool', 'assistant', 'user']);
});

test('a tool that fails or does not exist is told to the model', async () => {
  const broken = { name: 'broken', description: '', inputSchema: {}, execute: () => Promise.reject(new Error('out of order')) };
  const names = ['broken', 'unknown'];
  server.options.call = (messages) => {
    const name = names[messages.filter(({ role }) => role === 'tool').length];
    return name === undefined ? undefined : { id: name, name, arguments: '{}' };
  };
  expect(await textOf(session([broken]).reply('Go'))).toBe('You said: "There is no tool unknown."');
  expect(JSON.stringify(sent(2))).toContain('The tool failed: out of order');
});

test('a reply that fails leaves the conversation as it was; prompts go one after the other', async () => {
  const core = session();
  server.options.fault = 'error-event';
  await expect(textOf(core.reply('Lost'))).rejects.toMatchObject({ name: 'OperationError' });
  server.options.fault = undefined;
  const both = await Promise.all([textOf(core.reply('One')), textOf(core.reply('Two'))]);
  expect(both).toEqual(['You said: "One"', 'You said: "Two"']);
  expect(sent(2).map(({ role }) => role)).toEqual(['user', 'assistant', 'user']);
  await core.append('Remember this');
  const copy = core.copy(() => {});
  core.destroy();
  await expect(textOf(core.reply('Gone'))).rejects.toMatchObject({ name: 'InvalidStateError' });
  await textOf(copy.reply('Still here'));
  expect(sent(3)).toHaveLength(6);
});

test('a prompt that waits for its turn can be aborted, and those after it still wait for the one before', async () => {
  const core = session();
  server.options.fault = 'silent';
  const ending = new AbortController();
  const first = textOf(core.reply('One', { signal: ending.signal }));
  first.catch(() => {});
  const leaving = new AbortController();
  const second = textOf(core.reply('Two', { signal: leaving.signal }));
  const third = textOf(core.reply('Three'));
  await vi.waitFor(() => expect(server.asked.some(({ path }) => path.endsWith('completions'))).toBe(true));
  leaving.abort();
  await expect(second).rejects.toMatchObject({ name: 'AbortError' });
  server.options.fault = undefined;
  ending.abort();
  await expect(first).rejects.toMatchObject({ name: 'AbortError' });
  expect(await third).toBe('You said: "Three"');
  expect(server.asked.filter(({ path }) => path.endsWith('completions'))).toHaveLength(2);
});
