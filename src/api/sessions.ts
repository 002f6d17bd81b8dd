import { EngineError } from '../errors';
import type { EngineClient } from './client';
import type { Sessions } from './types';

const mostCharacters = 256;

/** `engine.sessions`. */
export function sessions(client: EngineClient): Sessions {
  return {
    save: async (id) => (await client.request((worker) => worker.saveSession(checkSessionId(id)))).saved,
    restore: async (id) => (await client.request((worker) => worker.restoreSession(checkSessionId(id)))).restored,
    list: async () => (await client.request((worker) => worker.listSessions())).sessions,
    delete: async (id) => void (await client.request((worker) => worker.deleteSession(checkSessionId(id)))),
  };
}

export function checkSessionId(id: unknown): string {
  if (typeof id !== 'string' || id === '' || id.length > mostCharacters)
    throw new EngineError('invalid-request', `A session's id must be a string of 1 to ${mostCharacters} characters.`);
  return id;
}
