/**
 * What a user imports. Nothing here touches the GPU or the network until `createEngine` is called.
 *
 *   const engine = await createEngine(new URL('./model/', location.href));
 *   const stream = await engine.chat.completions.create({ messages: [{ role: 'user', content: 'Hello' }], stream: true });
 *   for await (const chunk of stream) console.log(chunk.choices[0]?.delta.content ?? '');
 */

import type { ModelRef } from '../protocol/engine';
import { chatCompletions } from './chat_completions';
import { EngineClient } from './client';
import { completions } from './completions';
import type { Engine, EngineOptions } from './types';

export { EngineError, type ErrorCode } from '../errors';
export type * from '../protocol/chat';
export type {
  AdapterReport,
  EngineConfig,
  EngineInfo,
  Feature,
  KvDtype,
  LoadPhase,
  LoadProgress,
  ModelRef,
} from '../protocol/engine';
export type { Engine, EngineOptions } from './types';

/**
 * Starts a worker, loads the model in it, and resolves when the first token can be asked for.
 *
 * `model` is a hub id `owner/name[@revision]`, the URL of a folder (a string that starts with http:, https:, `/`, `./` or
 * `../` is one, relative to the page), the files of a folder, or a directory handle.
 *
 * @throws EngineError 'unsupported', 'not-found', 'storage', 'format', 'budget', 'invalid-request', …; AbortError if `signal` aborts.
 */
export async function createEngine(model: ModelRef, options: EngineOptions = {}): Promise<Engine> {
  const client = await EngineClient.start(model, options);
  return {
    get info() {
      return client.info;
    },
    refreshInfo: () => client.refreshInfo(),
    chat: { completions: { create: chatCompletions(client) } },
    completions: { create: completions(client) },
    tokenize: (text) => client.tokenize(text),
    unload: () => client.unload(),
    lost: client.lost,
  };
}
