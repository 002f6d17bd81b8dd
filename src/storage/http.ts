/**
 * A file on a server, read by HTTP ranges. The first request asks for the first PROBE_BYTES, which tells the size, holds most
 * small files whole, and shows where a redirect leads; later ranges go straight there, because a hub counts every request to
 * the redirecting address and a signed address lasts about an hour.
 */
import { EngineError, throwIfAborted } from '../errors';
import type { ByteSource } from './byte_source';
import { HttpError, type HttpFailure, isWebPage, looksLikeWebPage, Transient } from './http_error';
import {
  type Attempt,
  checkUrl,
  eachChunk,
  type HttpOptions,
  type HttpResponse,
  readBody,
  urlLabel,
  withResponse,
} from './http_request';
import { checkOpen, checkRange, shortRead } from './range';

const PROBE_BYTES = 64 << 10;
/** A server without ranges may still deliver a file this large (bytes), which is then kept in memory. */
export const WHOLE_FILE_BYTES = 64 << 20;

/** A range under way; `done` bytes of it are in place, and stay there when the connection breaks. */
type RangeRead = { byteOffset: number; into: Uint8Array; done: number };

/** @throws HttpError ('not-found' or 'storage'); AbortError when cancelled. */
export async function openHttp(url: string | URL, options: HttpOptions = {}, signal?: AbortSignal): Promise<ByteSource> {
  const file = new HttpFile(checkUrl(url), options);
  await file.probe(signal);
  return file;
}

class HttpFile implements ByteSource {
  readonly label: string;
  size = 0;
  /** The first strong ETag that came. */
  etag: string | undefined;
  /** Of the first answer. */
  mark: string | undefined;
  /**
   * The first strong ETag of each host: one says "same bytes" among the answers of one host only, and a redirect may lead to
   * another copy on another host next time.
   */
  private readonly etags = new Map<string, string>();
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
    const attempt = { range: () => `bytes=0-${PROBE_BYTES - 1}` };
    const size = await this.request(this.url.href, attempt, (found) => this.readProbe(found), signal);
    this.size = size ?? (await this.askSize(signal));
  }

  private request<T>(
    url: string,
    attempt: Attempt,
    use: (found: HttpResponse) => Promise<T>,
    signal: AbortSignal | undefined,
    options = this.options,
  ): Promise<T> {
    const checked = async (found: HttpResponse) => {
      this.checkEtag(found);
      return use(found);
    };
    return withResponse(() => url, this.home, options, attempt, checked, signal);
  }

  /** The size, or undefined where the server hides Content-Range from scripts. */
  private async readProbe(found: HttpResponse): Promise<number | undefined> {
    const { response } = found;
    this.refuseWebPage(response, 'not-found');
    const claimed = contentRange(response);
    if (response.status === 416) {
      if (claimed?.total === 0 || claimed === undefined) return claimed?.total; // an empty file has no first byte
      throw this.error(
        'wrong-range',
        `has ${claimed.total} bytes, yet refused a range from byte 0 (HTTP 416). Serve it from a server that supports ranges.`,
        416,
      );
    }
    if (response.status === 200) return this.readWhole(found);
    if (response.status !== 206) throw this.oddStatus(response.status);
    this.locate(found);
    if (!claimed || (claimed.start === 0 && Number.isNaN(claimed.total))) return undefined;
    const length = Math.min(PROBE_BYTES, claimed.total);
    if (claimed.start !== 0 || claimed.end !== length) throw this.wrongRange(response, 0, length);
    const head = new Uint8Array(length);
    await this.fill(found, { byteOffset: 0, into: head, done: 0 });
    this.refuseWebBytes(head, 'not-found');
    this.head = head;
    return claimed.total;
  }

  private async askSize(signal?: AbortSignal): Promise<number> {
    // A Range makes fetch ask for identity coding, so that the length is the file's; from byte 0 on, a 206 has the same length.
    const attempt = { method: 'HEAD', range: () => 'bytes=0-' } as const;
    const read = async ({ response }: HttpResponse) => {
      const length = response.headers.get('content-length');
      if (response.ok && length !== null && /^\d{1,15}$/.test(length)) return Number(length);
      throw this.error(
        'no-size',
        'does not tell its size: the server must let scripts read Content-Range (Access-Control-Expose-Headers), or answer HEAD with Content-Length.',
      );
    };
    return this.request(this.url.href, attempt, read, signal);
  }

  async read(byteOffset: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    throwIfAborted(signal);
    checkOpen(this.label, this.closed);
    checkRange(this, byteOffset, into.byteLength);
    if (into.byteLength === 0) return; // HTTP has no empty range
    const end = byteOffset + into.byteLength;
    if (end > this.head.byteLength) await this.readRange({ byteOffset, into, done: 0 }, signal);
    else into.set(this.head.subarray(byteOffset, end));
  }

  private async readRange(read: RangeRead, signal?: AbortSignal): Promise<void> {
    const end = read.byteOffset + read.into.byteLength;
    const attempt = { range: () => `bytes=${read.byteOffset + read.done}-${end - 1}` };
    const use = (found: HttpResponse) => this.readResponse(found, read);
    const located = this.located;
    if (located !== undefined) {
      try {
        return await this.request(located, attempt, use, signal, { ...this.options, tries: 1 });
      } catch (error) {
        if (!(error instanceof EngineError)) throw error;
        // A signed address expires (403 as a rule): ask the file's own address once more, which names the error if it stays.
        if (this.located === located) this.located = undefined;
      }
    }
    await this.request(this.url.href, attempt, use, signal);
  }

  private async readResponse(found: HttpResponse, read: RangeRead): Promise<void> {
    const { response } = found;
    const start = read.byteOffset + read.done;
    const end = read.byteOffset + read.into.byteLength;
    this.refuseWebPage(response, 'storage');
    if (response.status === 200) {
      if (this.size > WHOLE_FILE_BYTES) throw this.noRanges();
      const size = this.head.byteLength === this.size ? this.size : await this.readWhole(found); // another read may have it by now
      if (size !== this.size) throw this.changed(`had ${this.size} bytes and now has ${size}`);
      read.into.set(this.head.subarray(read.byteOffset, end));
      return;
    }
    if (response.status === 416) throw this.changed(`has no bytes [${start}, ${end}) any more (HTTP 416)`);
    if (response.status !== 206) throw this.oddStatus(response.status);
    const claimed = contentRange(response);
    if (claimed && claimed.start === start && claimed.total !== this.size && !Number.isNaN(claimed.total)) {
      throw this.changed(`had ${this.size} bytes and now has ${claimed.total}`);
    }
    if (claimed && (claimed.start !== start || claimed.end !== end)) throw this.wrongRange(response, start, end);
    this.locate(found);
    await this.fill(found, read);
  }

  /** Copies a body that must have exactly the bytes that are still to come. */
  private async fill(found: HttpResponse, read: RangeRead): Promise<void> {
    const { byteOffset, into } = read;
    try {
      await eachChunk(found, (chunk) => {
        if (read.done + chunk.byteLength > into.byteLength) {
          throw this.error(
            'wrong-range',
            `sent more than the ${into.byteLength} bytes asked for from offset ${byteOffset}. Serve it from a server that supports ranges.`,
          );
        }
        into.set(chunk, read.done);
        read.done += chunk.byteLength;
      });
      if (read.done !== into.byteLength) {
        throw new Transient(new HttpError('cut-off', shortRead(this.label, byteOffset, into.byteLength, read.done).message));
      }
    } catch (error) {
      // Another attempt goes on where this one broke off, unless what came is in doubt, or was all and the end of it broke.
      if (!(error instanceof Transient) || read.done === into.byteLength) read.done = 0;
      throw error;
    }
  }

  /** HTTP 200 to a range: the server has none. */
  private async readWhole(found: HttpResponse): Promise<number> {
    const whole = await readBody(found, WHOLE_FILE_BYTES, () => this.noRanges());
    this.refuseWebBytes(whole, this.size === 0 ? 'not-found' : 'storage');
    this.head = whole;
    return whole.byteLength;
  }

  private locate({ response, url }: HttpResponse): void {
    if (response.redirected || url !== this.url.href) this.located = url;
  }

  /** A weak ETag (`W/`) promises no more than the same meaning, so it says nothing about bytes. */
  private checkEtag({ response, url }: HttpResponse): void {
    this.mark ??= response.headers.get('etag')?.trim() || response.headers.get('last-modified')?.trim() || undefined;
    const etag = response.headers.get('etag')?.trim();
    if (etag === undefined || !/^"[^"]*"$/.test(etag)) return;
    const { origin } = new URL(url);
    const known = this.etags.get(origin);
    if (known !== undefined && known !== etag) throw this.changed('has another ETag than before');
    this.etags.set(origin, etag);
    this.etag ??= etag;
  }

  /** At open a web page means that there is no such file. */
  private refuseWebPage(response: Response, code: 'not-found' | 'storage'): void {
    if (isWebPage(response)) throw this.webPage(code);
  }

  private refuseWebBytes(bytes: Uint8Array, code: 'not-found' | 'storage'): void {
    if (looksLikeWebPage(bytes)) throw this.webPage(code);
  }

  private webPage(code: 'not-found' | 'storage'): HttpError {
    const message = `${this.label} answered with a web page in place of the file. Check the address, and whether it needs a login.`;
    return new HttpError('web-page', message, { code });
  }

  private wrongRange(response: Response, start: number, end: number): HttpError {
    const range = response.headers.get('content-range') ?? 'nothing';
    return this.error(
      'wrong-range',
      `answered bytes [${start}, ${end}) of ${this.size || 'an unknown size'} with Content-Range '${range.slice(0, 80)}'. ` +
        `Serve it from a server that supports ranges.`,
    );
  }

  private noRanges(): HttpError {
    return this.error(
      'no-ranges',
      `is larger than ${WHOLE_FILE_BYTES / 2 ** 20} MiB and its server ignores range requests (HTTP 200). Serve it from one that supports them.`,
      200,
    );
  }

  private changed(how: string): HttpError {
    return this.error('changed', `${how}; it changed while it was read. Load the model again.`);
  }

  private oddStatus(status: number): HttpError {
    return this.error('status', `answered a range request with HTTP ${status}. Check the address.`, status);
  }

  private error(reason: HttpFailure, problem: string, status?: number): HttpError {
    return new HttpError(reason, `${this.label} ${problem}`, { status });
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
