/** One reply from beginning to end, whatever the end is. */
import type { ChatEngine, ChatFinishReason, ChatRequest, Usage } from '../api';
import { isAbort } from '../errors';

export type ReplyEnd = {
  /** 'stopped': by its signal. */
  finishReason: ChatFinishReason | 'stopped' | 'failed';
  usage: Usage | undefined;
  /** What went wrong, where it failed. */
  failure?: unknown;
};

/** Never rejects. `onText` gets the reply piece by piece. */
export async function streamReply(
  engine: ChatEngine,
  request: ChatRequest,
  signal: AbortSignal,
  onText: (text: string) => void,
): Promise<ReplyEnd> {
  const end: ReplyEnd = { finishReason: 'stop', usage: undefined };
  const streamed = { ...request, stream: true as const, stream_options: { include_usage: true } };
  try {
    for await (const { choices, usage } of await engine.chat.completions.create(streamed, { signal })) {
      const [choice] = choices;
      end.finishReason = choice?.finish_reason ?? end.finishReason;
      end.usage = usage ?? end.usage;
      if (choice?.delta.content) onText(choice.delta.content);
    }
    return end;
  } catch (failure) {
    return isAbort(failure) ? { ...end, finishReason: 'stopped' } : { ...end, finishReason: 'failed', failure };
  }
}
