/**
 * For `useChat`: replies come from an engine in this page, with no server between.
 *
 *   const { messages, sendMessage } = useChat({ transport: chatTransport({ model: sluice(engine) }) });
 */
import { type ChatTransport, DirectChatTransport, type LanguageModel, ToolLoopAgent, type ToolSet, type UIMessage } from 'ai';

export type ChatTransportSettings = {
  /** As `sluice` gives it. */
  model: LanguageModel;
  /** The system prompt. */
  instructions?: string;
  /** With `execute` they run here, until the model has nothing more to call. */
  tools?: ToolSet;
  maxOutputTokens?: number;
  temperature?: number;
  topP?: number;
  topK?: number;
  seed?: number;
};

export function chatTransport(settings: ChatTransportSettings): ChatTransport<UIMessage> {
  // An engine in the page either answers or does not; asking again changes nothing.
  const agent = new ToolLoopAgent({ ...settings, maxRetries: 0 });
  // Its own type allows no data parts, which it passes over.
  return new DirectChatTransport({ agent }) as unknown as ChatTransport<UIMessage>;
}
