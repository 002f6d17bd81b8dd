/** The engine's own generation without text: the prompt is ids, and ids are what is wanted of the reply. */
import { type Generation, generate } from '../engine/generate';
import type { ModelSession } from '../engine/model_session';
import { EngineError } from '../errors';
import type { Timings } from '../protocol/chat';
import type { GenerateRequest } from '../protocol/engine';

const sampling = { temperature: 0.7, top_k: 20, top_p: 0.95 };

export type IdRequest = { ids: number[]; known: number; decodeTokens: number; seed: number };
export type IdRun = { timings: Timings; ids: number[] };

/** One request through the engine, by its own loop and sampling; `known` of the ids were read before. */
export async function generateIds(session: ModelSession, request: IdRequest): Promise<IdRun> {
  const ids: number[] = [];
  const generation: Generation = {
    session,
    text: idsForText(request.ids, (id) => ids.push(id)),
    defaults: { eosTokenIds: [] },
    vocab: session.config.vocabSize,
    stopIds: new Set(),
    knownTokens: request.known,
  };
  const asked: GenerateRequest = {
    prompt: { text: '' },
    sampling: { ...sampling, seed: request.seed },
    maxTokens: request.decodeTokens + 1, // the first comes with the prompt
    stop: [],
  };
  let timings: Timings | undefined;
  for await (const event of generate(generation, asked, new AbortController().signal))
    if (event.type === 'done') timings = event.timings;
  return { timings: timings!, ids };
}

/** In place of a tokenizer: a prompt that is ids already, and a listener to those of the reply. */
function idsForText(prompt: number[], onId: (id: number) => void): Generation['text'] {
  return {
    encode: async () => prompt,
    encodeChat: async () => ({ ids: prompt, opensThinking: false }),
    describeTokens: async () => [],
    openConstraint: () => Promise.reject(new EngineError('unsupported', 'A measurement has no text to constrain.')),
    openStream: () => ({
      push: async (ids) => {
        for (const id of ids) onId(id);
        return { text: '', stopped: false, used: ids.length };
      },
      finish: async () => '',
      close: () => {},
    }),
  };
}
