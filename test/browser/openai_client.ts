/** A conversation as an application holds it: the `openai` package, its `fetch` replaced, the bundled model behind. */
import OpenAI from 'openai';
import { createEngine, createFetch } from '../../src/api';

export type TurnReport = { said: string; chunks: number; finish: string | null; promptTokens: number; completionTokens: number };
export type OpenAiReport = {
  isolated: boolean;
  turns: TurnReport[];
  /** The same last turn again, in one piece. */
  whole: string | null;
  /** What tool_choice 'required' gave. */
  call: { finish: string; content: string | null; name?: string; values?: unknown };
  afterResult: TurnReport;
  errors: Record<string, unknown>;
  unhandled: string[];
};

declare global {
  interface Window {
    openAiReport?: OpenAiReport | { broken: string };
  }
}

type Messages = OpenAI.ChatCompletionMessageParam[];
const asked = { model: 'story', temperature: 0, max_tokens: 12 };
const unhandled: string[] = [];
addEventListener('unhandledrejection', ({ reason }) => unhandled.push(String(reason)));

const tools: OpenAI.ChatCompletionTool[] = [
  {
    type: 'function',
    function: {
      name: 'get_weather',
      parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
    },
  },
];

async function turn(
  client: OpenAI,
  messages: Messages,
  more: Partial<OpenAI.ChatCompletionCreateParams> = {},
): Promise<TurnReport> {
  const report: TurnReport = { said: '', chunks: 0, finish: null, promptTokens: 0, completionTokens: 0 };
  const request = { ...asked, ...more, messages, stream: true as const, stream_options: { include_usage: true } };
  for await (const { choices, usage } of await client.chat.completions.create(request)) {
    const [choice] = choices;
    if (choice?.delta.content) {
      report.said += choice.delta.content;
      report.chunks++;
    }
    report.finish = choice?.finish_reason ?? report.finish;
    if (usage) [report.promptTokens, report.completionTokens] = [usage.prompt_tokens, usage.completion_tokens];
  }
  return report;
}

/** A call that the reply must be, streamed and put together by the client; then its result, and the model's answer to it. */
async function callAndAnswer(client: OpenAI, messages: Messages): Promise<Pick<OpenAiReport, 'call' | 'afterResult'>> {
  const request = { ...asked, max_tokens: 60, messages, tools, tool_choice: 'required' as const };
  const completion = await client.chat.completions.stream(request).finalChatCompletion();
  const { finish_reason: finish, message } = completion.choices[0]!;
  const [call] = message.tool_calls ?? [];
  if (!call) return { call: { finish, content: message.content }, afterResult: await turn(client, messages) };
  const { name, arguments: values } = call.function;
  const answered: Messages = [...messages, message, { role: 'tool', tool_call_id: call.id, content: 'The sun is out.' }];
  return {
    call: { finish, content: message.content, name, values: JSON.parse(values) },
    afterResult: await turn(client, answered, { tools }),
  };
}

async function outcome(run: () => Promise<unknown>): Promise<unknown> {
  try {
    await run();
    return 'no error';
  } catch (error) {
    const { status, code, param } = error as InstanceType<typeof OpenAI.APIError>;
    return { status, code, param };
  }
}

async function main(): Promise<void> {
  const engine = await createEngine(new URL('../../demo/model/', location.href), { contextTokens: 768 });
  const client = new OpenAI({
    apiKey: 'none',
    baseURL: 'http://sluice.invalid/v1',
    dangerouslyAllowBrowser: true,
    fetch: createFetch(engine),
  });
  const messages: Messages = [{ role: 'system', content: 'You tell stories.' }];
  const turns: TurnReport[] = [];
  for (const content of ['Tell a story about a fox.', 'What did the fox do then?', 'And how did it end?']) {
    messages.push({ role: 'user', content });
    const report = await turn(client, messages);
    turns.push(report);
    messages.push({ role: 'assistant', content: report.said });
  }
  const again = await client.chat.completions.create({ ...asked, messages: messages.slice(0, -1) });
  window.openAiReport = {
    isolated: crossOriginIsolated,
    turns,
    whole: again.choices[0]!.message.content,
    ...(await callAndAnswer(client, [{ role: 'user', content: 'Is the sun out in Paris?' }])),
    errors: {
      embeddings: await outcome(() => client.embeddings.create({ model: 'story', input: 'x' })),
      temperature: await outcome(() => client.chat.completions.create({ ...asked, messages, temperature: 3 })),
      'too long': await outcome(() => turn(client, [{ role: 'user', content: 'word '.repeat(900) }])),
    },
    unhandled,
  };
  await engine.unload();
}

main().catch((error: unknown) => {
  window.openAiReport = { broken: String(error) };
});
