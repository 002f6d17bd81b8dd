/** Applications as they are written for the `ai` package and for the browsers' Prompt API, with the bundled model behind. */
import {
  AbstractChat,
  type ChatState,
  type ChatStatus,
  generateText,
  type ModelMessage,
  Output,
  stepCountIs,
  streamText,
  tool,
  type UIMessage,
} from 'ai';
import { z } from 'zod';
import { sluice } from '../../src/adapters/ai_sdk';
import { chatTransport } from '../../src/adapters/ai_sdk/transport';
import { createLanguageModel } from '../../src/adapters/prompt_api';
import { createEngine } from '../../src/api';

export type Said = { said: string; pieces: number; promptTokens?: number };
export type AdaptersReport = {
  isolated: boolean;
  sdk: {
    turns: Said[];
    object: unknown;
    tool: { input: unknown; output: unknown } | undefined;
    aborted: { parts: string[]; said: number };
    refused: string;
    chat: { role: string; text: string }[];
    chatStatus: string;
  };
  promptApi: {
    availability: string[];
    progress: number[];
    turns: Said[];
    usage: number[];
    held: unknown;
    clone: string;
    aborted: string;
    /** What was said after a reply that nobody read to its end. */
    afterCancel: string;
    tooLong: string;
    destroyed: string;
  };
  unhandled: string[];
};

declare global {
  interface Window {
    adaptersReport?: AdaptersReport | { broken: string };
  }
}

const MODEL = new URL('../../demo/model/', location.href);
const OPTIONS = { contextTokens: 768 };
/** Short, because replies have no length of their own in the Prompt API. */
const SHORT = { contextTokens: 192 };
const unhandled: string[] = [];
addEventListener('unhandledrejection', ({ reason }) => unhandled.push(String(reason)));

async function nameOf(run: () => PromiseLike<unknown>): Promise<string> {
  try {
    await run();
    return 'no error';
  } catch (error) {
    return (error as Error).name;
  }
}

async function withSdk(): Promise<AdaptersReport['sdk']> {
  const engine = await createEngine(MODEL, OPTIONS);
  const model = sluice(engine);
  const greedy = { model, temperature: 0, maxOutputTokens: 12, maxRetries: 0 };
  const messages: ModelMessage[] = [];
  const turns: Said[] = [];
  for (const content of ['Tell a story about a fox.', 'And how did it end?']) {
    messages.push({ role: 'user', content });
    const result = streamText({ ...greedy, system: 'You tell stories.', messages });
    const turn: Said = { said: '', pieces: 0 };
    for await (const delta of result.textStream) {
      turn.said += delta;
      turn.pieces++;
    }
    turn.promptTokens = (await result.usage).inputTokens;
    turns.push(turn);
    messages.push(...(await result.response).messages);
  }
  const schema = z.object({ animal: z.enum(['fox', 'owl']), legs: z.number().int().min(2).max(4) });
  const { output } = await generateText({
    ...greedy,
    maxOutputTokens: 40,
    prompt: 'Which animal?',
    output: Output.object({ schema }),
  });
  const weather = tool({
    inputSchema: z.object({ city: z.enum(['Paris', 'Rome']) }),
    execute: async ({ city }) => `The sun is out in ${city}.`,
  });
  const called = streamText({
    ...greedy,
    maxOutputTokens: 60,
    prompt: 'Is the sun out?',
    tools: { weather },
    toolChoice: 'required',
    stopWhen: stepCountIs(1),
  });
  await called.consumeStream();
  const [result] = await called.toolResults;
  const report = {
    turns,
    object: output,
    tool: result && { input: result.input, output: result.output },
    aborted: await abortInMidReply(model),
    refused: await nameOf(() => generateText({ ...greedy, prompt: 'word '.repeat(900) })),
    ...(await chatWithTransport(model)),
  };
  await engine.unload();
  return report;
}

async function abortInMidReply(model: ReturnType<typeof sluice>): Promise<AdaptersReport['sdk']['aborted']> {
  const controller = new AbortController();
  const result = streamText({ model, prompt: 'Tell a long story.', maxOutputTokens: 200, abortSignal: controller.signal });
  const parts: string[] = [];
  let said = 0;
  for await (const { type } of result.fullStream) {
    if (parts.at(-1) !== type) parts.push(type);
    if (type === 'text-delta' && ++said === 3) controller.abort();
  }
  return { parts, said };
}

/** What `useChat` is made of; React would only draw it. */
class PlainState implements ChatState<UIMessage> {
  status: ChatStatus = 'ready';
  error: Error | undefined;
  messages: UIMessage[] = [];
  pushMessage = (message: UIMessage) => void this.messages.push(message);
  popMessage = () => void this.messages.pop();
  replaceMessage = (index: number, message: UIMessage) => void this.messages.splice(index, 1, message);
  snapshot = <T>(thing: T): T => structuredClone(thing);
}
class PlainChat extends AbstractChat<UIMessage> {}

async function chatWithTransport(model: ReturnType<typeof sluice>) {
  const transport = chatTransport({ model, instructions: 'You tell stories.', temperature: 0, maxOutputTokens: 8 });
  const chat = new PlainChat({ transport, state: new PlainState() });
  await chat.sendMessage({ text: 'Tell a story.' });
  await chat.sendMessage({ text: 'And then?' });
  const textOf = ({ parts }: UIMessage) => parts.map((part) => (part.type === 'text' ? part.text : '')).join('');
  return { chat: chat.messages.map((message) => ({ role: message.role, text: textOf(message) })), chatStatus: chat.status };
}

async function withPromptApi(): Promise<AdaptersReport['promptApi']> {
  const LanguageModel = createLanguageModel(MODEL, SHORT);
  const availability = [await LanguageModel.availability()];
  const progress: number[] = [];
  const session = await LanguageModel.create({
    initialPrompts: [{ role: 'system', content: 'You tell stories.' }],
    samplingMode: 'most-predictable',
    monitor: (monitor: EventTarget) =>
      monitor.addEventListener('downloadprogress', (event) => progress.push((event as ProgressEvent).loaded)),
  });
  availability.push(await LanguageModel.availability());
  const usage = [session.contextUsage];
  const turns: Said[] = [];
  for (const content of ['What is the capital of France?', 'And of Spain?']) {
    const turn: Said = { said: '', pieces: 0 };
    const reader = session.promptStreaming(content).getReader();
    for (let step = await reader.read(); !step.done; step = await reader.read()) {
      turn.said += step.value;
      turn.pieces++;
    }
    turns.push(turn);
    usage.push(session.contextUsage);
  }
  const schema = { type: 'object', properties: { animal: { enum: ['fox', 'owl'] } }, required: ['animal'] };
  const held = JSON.parse(await session.prompt('Which animal?', { responseConstraint: schema }));
  const clone = await session.clone();
  const continued = await clone.prompt(
    [
      { role: 'user', content: 'Go on.' },
      { role: 'assistant', content: 'I am too small to', prefix: true },
    ],
    {
      signal: undefined,
    },
  );
  const controller = new AbortController();
  const reader = session.promptStreaming('Tell a long story.', { signal: controller.signal }).getReader();
  await reader.read();
  controller.abort();
  const aborted = await nameOf(async () => {
    for (;;) if ((await reader.read()).done) return;
  });
  const left = session.promptStreaming('Tell a long story.').getReader();
  await left.read();
  await left.cancel();
  const afterCancel = await session.prompt('Which animal?', { responseConstraint: schema });
  const tooLong = await nameOf(() => session.prompt('word '.repeat(900)));
  session.destroy();
  const destroyed = await nameOf(() => session.prompt('Hello?'));
  clone.destroy();
  return { availability, progress, turns, usage, held, clone: continued, aborted, afterCancel, tooLong, destroyed };
}

async function main(): Promise<void> {
  const sdk = await withSdk();
  const promptApi = await withPromptApi();
  window.adaptersReport = { isolated: crossOriginIsolated, sdk, promptApi, unhandled };
}

main().catch((error: unknown) => {
  window.adaptersReport = { broken: `${error}\n${(error as Error).stack}` };
});
