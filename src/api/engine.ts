import { EngineError } from '../errors';
import { chatCompletions, engineReplies } from './chat_completions';
import type { EngineClient } from './client';
import { completions } from './completions';
import { sessions } from './sessions';
import type { Engine } from './types';

/** What a caller holds of a loaded engine. */
export function engineOf(client: EngineClient): Engine {
  return {
    answeredBy: { place: 'device' },
    get info() {
      return client.info;
    },
    get plan() {
      return client.info.plan;
    },
    refreshInfo: () => client.refreshInfo(),
    chat: { completions: { create: chatCompletions(engineReplies(client)) } },
    completions: { create: completions(client) },
    embeddings: { create: refuseEmbeddings },
    sessions: sessions(client),
    interruptGenerate: () => client.interrupt(),
    tokenize: (text) => client.tokenize(text),
    measure: () => client.measure(),
    unload: () => client.unload(),
    lost: client.lost,
  };
}

async function refuseEmbeddings(): Promise<never> {
  throw new EngineError(
    'unsupported',
    'Sluice runs models that generate text, and offers no embeddings. Use a library made for embedding models beside it.',
  );
}
