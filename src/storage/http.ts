/**
 * A file on a server, read by HTTP ranges. The first request asks for the first PROBE_BYTES, which tells the size, holds most
 * small files whole, and shows where a redirect leads; later ranges go straight there, because a hub counts every request to
 * the redirecting address and a signed address lasts about an hour.
 */
import { EngineError, throwIfAborted } from '../errors';
import type { ByteSource } from './byte_source';
import { checkUrl, type HttpOptions, type HttpResponse, Transient, urlLabel, withResponse } from './http_request';
import { checkOpen, checkRange, shortRead } from './range';

const PROBE_BYTES = 64 << 10;
/** A server without ranges may still deliver a file this large (bytes), which is then kept in memory. */
export const WHOLE_FILE_BYTES = 64 << 20;

/** @throws EngineError 'not-found' or 'storage'; AbortError when cancelled. */
export async function openHttp(url: string | URL, options: HttpOptions = {}, signal?: AbortSignal): Promise<ByteSource> {
  const file = new HttpFile(checkUrl(url), options);
  await file.probe(signal);
  return file;
}

class HttpFile implements ByteSource {
  readonly label: string;
  size = 0;
  private readonly home: string;
  /** Where the last redirect led, until it fails. */
  private located: string | undefined;
  /** The file's first bytes; all of it where the server has no ranges. */
  private head = new Uint8Array(0);
  private closed = false;

  constructor(
    private readonly url: URL,
    private readonly options: HttpOptions,
  ) {
    this.label = urlLabel(url);
    this.home = url.origin;
  }

  async probe(signal?: AbortSignal): Promise<void> {
    const range = `bytes=0-${PROBE_BYTES - 1}`;
    const size = await withResponse(
      () => this.url.href,
      this.home,
      this.options,
      { range },
      (found) => this.readProbe(found),
      signal,
    );
    this.size = size ?? (await this.askSize(signal));
  }

  /** The size, or undefined where the server hides Content-Range from scripts. */
  private async readProbe(found: HttpResponse): Promise<number | undefined> {
    const { response } = found;
    this.refuseWebPage(response, 'not-found');
    const claimed = contentRange(response);
    if (response.status === 416) {
      if (claimed?.total === 0 || claimed === undefined) return claimed?.total; // an empty file has no first byte
      throw this.statusError(`has ${claimed.total} bytes, yet refused a range from byte 0 (HTTP 416)`);
    }
    if (response.status === 200) return this.readWhole(found);
    if (response.status !== 206) throw this.statusError(`answered a range request with HTTP ${response.status}`);
    this.locate(found);
    if (!claimed || (claimed.start === 0 && Number.isNaN(claimed.total))) return undefined;
    const length = Math.min(PROBE_BYTES, claimed.total);
    if (claimed.start !== 0 || claimed.end !== length) throw this.wrongRange(response, 0, length);
    const head = new Uint8Array(length);
    await this.fill(found, 0, head);
    this.head = head;
    return claimed.total;
  }

  private async askSize(signal?: AbortSignal): Promise<number> {
    // A Range makes fetch ask for identity coding, so that the length is the file's; from byte 0 on, a 206 has the same length.
    const attempt = { method: 'HEAD', range: 'bytes=0-' } as const;
    const read = async ({ response }: HttpResponse) => {
      const length = response.headers.get('content-length');
      if (response.ok && length !== null && /^\d{1,15}$/.test(length)) return Number(length);
      throw this.statusError(
        'does not tell its size: the server must let scripts read Content-Range (Access-Control-Expose-Headers), or answer HEAD with Content-Length',
      );
    };
    return withResponse(() => this.url.href, this.home, this.options, attempt, read, signal);
  }

  async read(byteOffset: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    throwIfAborted(signal);
    checkOpen(this.label, this.closed);
    checkRange(this, byteOffset, into.byteLength);
    if (into.byteLength === 0) return; // HTTP has no empty range
    const end = byteOffset + into.byteLength;
    if (end > this.head.byteLength) await this.readRange(byteOffset, into, signal);
    else into.set(this.head.subarray(byteOffset, end));
  }

  private async readRange(byteOffset: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    const attempt = { range: `bytes=${byteOffset}-${byteOffset + into.byteLength - 1}` };
    const use = (found: HttpResponse) => this.readResponse(found, byteOffset, into);
    const located = this.located;
    if (located !== undefined) {
      try {
        return await withResponse(() => located, this.home, { ...this.options, tries: 1 }, attempt, use, signal);
      } catch (error) {
        if (!(error instanceof EngineError)) throw error;
        // A signed address expires (403 as a rule): ask the file's own address once more, which names the error if it stays.
        if (this.located === located) this.located = undefined;
      }
    }
    await withResponse(() => this.url.href, this.home, this.options, attempt, use, signal);
  }

  private async readResponse(found: HttpResponse, byteOffset: number, into: Uint8Array): Promise<void> {
    const { response } = found;
    this.refuseWebPage(response, 'storage');
    if (response.status === 200) {
      const size = await this.readWhole(found);
      if (size !== this.size) throw this.statusError(`had ${this.size} bytes and now has ${size}; it changed while it was read`);
      into.set(this.head.subarray(byteOffset, byteOffset + into.byteLength));
      return;
    }
    if (response.status === 416) {
      throw this.statusError(
        `has no bytes [${byteOffset}, ${byteOffset + into.byteLength}) any more (HTTP 416); it changed while it was read`,
      );
    }
    if (response.status !== 206) throw this.statusError(`answered a range request with HTTP ${response.status}`);
    const claimed = contentRange(response);
    const sameSize = claimed === undefined || claimed.total === this.size || Number.isNaN(claimed.total);
    if (claimed && (claimed.start !== byteOffset || claimed.end !== byteOffset + into.byteLength || !sameSize)) {
      throw this.wrongRange(response, byteOffset, byteOffset + into.byteLength);
    }
    this.locate(found);
    await this.fill(found, byteOffset, into);
  }

  /** Copies a body that must have exactly `into.byteLength` bytes. */
  private async fill({ response, guard }: HttpResponse, byteOffset: number, into: Uint8Array): Promise<void> {
    let done = 0;
    await this.eachChunk(response, guard, (chunk) => {
      if (done + chunk.byteLength > into.byteLength) {
        throw this.statusError(`sent more than the ${into.byteLength} bytes asked for from offset ${byteOffset}`);
      }
      into.set(chunk, done);
      done += chunk.byteLength;
    });
    if (done !== into.byteLength) throw new Transient(shortRead(this.label, byteOffset, into.byteLength, done));
  }

  /** HTTP 200 to a range: the server has none. Memory follows the bytes that come, not the length it claims. */
  private async readWhole({ response, guard }: HttpResponse): Promise<number> {
    const limit = `${WHOLE_FILE_BYTES / 2 ** 20} MiB`;
    const refuse = () =>
      this.statusError(
        `is larger than ${limit} and its server ignores range requests (HTTP 200). Serve it from one that supports them`,
      );
    const claimed = Number(response.headers.get('content-length') ?? 0);
    if (claimed > WHOLE_FILE_BYTES) throw refuse();
    const chunks: Uint8Array[] = [];
    let size = 0;
    await this.eachChunk(response, guard, (chunk) => {
      size += chunk.byteLength;
      if (size > WHOLE_FILE_BYTES) throw refuse();
      chunks.push(chunk);
    });
    // More than the length is a compressed transfer; less is a cut one.
    if (size < claimed) throw new Transient(shortRead(this.label, 0, claimed, size));
    const whole = new Uint8Array(size);
    let at = 0;
    for (const chunk of chunks) {
      whole.set(chunk, at);
      at += chunk.byteLength;
    }
    this.head = whole;
    return size;
  }

  private async eachChunk(response: Response, guard: HttpResponse['guard'], take: (chunk: Uint8Array) => void): Promise<void> {
    const reader = response.body?.getReader();
    if (!reader) return;
    for (;;) {
      const { done, value } = await guard(reader.read());
      if (done) return;
      take(value);
    }
  }

  private locate({ response, url }: HttpResponse): void {
    if (response.redirected || url !== this.url.href) this.located = url;
  }

  /** A login page, or a single-page site's answer to every address: at open that means that there is no such file. */
  private refuseWebPage(response: Response, code: 'not-found' | 'storage'): void {
    if (!/^(text\/html|application\/xhtml\+xml)\b/i.test(response.headers.get('content-type') ?? '')) return;
    throw new EngineError(
      code,
      `${this.label} answered with a web page in place of the file. Check the address, and whether it needs a login.`,
    );
  }

  private wrongRange(response: Response, start: number, end: number): EngineError {
    const range = response.headers.get('content-range') ?? 'nothing';
    return this.statusError(
      `answered bytes [${start}, ${end}) of ${this.size || 'an unknown size'} with Content-Range '${range.slice(0, 80)}'`,
    );
  }

  private statusError(problem: string): EngineError {
    return new EngineError('storage', `${this.label} ${problem}.`);
  }

  close(): void {
    this.closed = true;
    this.head = new Uint8Array(0);
  }
}

/** Half-open. undefined if absent or hidden from scripts; `total` NaN where the server writes `*`; all NaN if malformed. */
function contentRange(response: Response): { start: number; end: number; total: number } | undefined {
  const header = response.headers.get('content-range')?.trim();
  if (header === undefined) return undefined;
  const range = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/.exec(header);
  if (range) return { start: Number(range[1]), end: Number(range[2]) + 1, total: Number(range[3]) };
  const none = /^bytes \*\/(\d{1,15})$/.exec(header);
  return none ? { start: 0, end: 0, total: Number(none[1]) } : { start: Number.NaN, end: Number.NaN, total: Number.NaN };
}
