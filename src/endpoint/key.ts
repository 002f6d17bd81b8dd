import { EngineError } from '../errors';

/** A key, or whoever knows it: asked once for each request, so that a page can keep it elsewhere. */
export type ApiKey = string | (() => string | Promise<string>);

/** A key with the one origin that it may be sent to. Private, so that nothing that prints or clones an object shows it. */
export class BoundKey {
  readonly #key: ApiKey;
  readonly #origin: string;

  constructor(key: ApiKey, origin: string) {
    this.#key = key;
    this.#origin = origin;
  }

  /** @throws EngineError 'invalid-request' for another origin, or where the key is no header's value. */
  async for(origin: string): Promise<string> {
    if (origin !== this.#origin) throw new EngineError('invalid-request', 'This key belongs to another endpoint. Set it again.');
    const key = typeof this.#key === 'function' ? await this.#key() : this.#key;
    if (typeof key !== 'string' || !/^[\x21-\x7e]+$/.test(key))
      throw new EngineError(
        'invalid-request',
        "'apiKey' must be text of visible ASCII characters, or a function that gives it.",
        {
          field: 'apiKey',
        },
      );
    return key;
  }
}

/** What a page shows of a server's own words. */
const LONGEST_WORDS = 300;

/** Servers like to repeat what they were sent; an error goes to pages, logs and reports. Cut last: half of a key is no key any more. */
export function shownWords(text: string, key: string | undefined): string {
  return (key === undefined ? text : text.replaceAll(key, '…')).trim().slice(0, LONGEST_WORDS);
}
