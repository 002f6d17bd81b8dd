/** From what a user names - a hub id, a URL, a folder - to the files of one model. */
import { EngineError, throwIfAborted } from '../errors';
import { blobSource } from './blob';
import type { ByteSource, ModelFiles } from './byte_source';
import { checkFileName } from './file_name';
import { openHttp } from './http';
import { checkUrl, type HttpOptions, urlLabel } from './http_request';
import { fileSystemError, openFileHandle } from './opfs';

export type OpenModelOptions = HttpOptions & {
  /** Base URL that hub ids resolve against. Default https://huggingface.co. */
  hubUrl?: string;
  signal?: AbortSignal;
};

/** The same as protocol's ModelRef, which this room may not import. */
type Ref = string | URL | readonly File[] | FileList | FileSystemDirectoryHandle;

export type HubId = { owner: string; name: string; revision: string };

const DEFAULT_HUB = 'https://huggingface.co';
const HUB_ANSWER_BYTES = 16 << 20;
const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$/;
const REVISION = /^[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,198}[A-Za-z0-9_-])?$/;
const COMMIT = /^[0-9a-f]{40}(?:[0-9a-f]{24})?$/;

/**
 * @throws EngineError 'invalid-request' for a reference of no known form, 'not-found' or 'storage' where the hub does not know it.
 */
export async function openModel(ref: Ref, options: OpenModelOptions = {}): Promise<ModelFiles> {
  const { signal } = options;
  throwIfAborted(signal);
  if (typeof ref === 'string' && !/^https?:/i.test(ref)) return openHub(parseHubId(ref), options);
  if (typeof ref === 'string' || ref instanceof URL)
    return openFolderUrl(checkUrl(ref), undefined, urlLabel(checkUrl(ref)), options);
  if (Array.isArray(ref)) return openFiles(ref as readonly File[]);
  if ((ref as FileSystemDirectoryHandle)?.kind === 'directory') return openDirectoryHandle(ref as FileSystemDirectoryHandle);
  throw new EngineError('invalid-request', 'A model is a hub id, an http(s) URL, a list of files or a directory handle.');
}

/** `owner/name` or `owner/name@revision`; the revision is a branch, tag or commit, 'main' if absent. */
export function parseHubId(id: string): HubId {
  const at = id.indexOf('@');
  const [path, revision] = at < 0 ? [id, 'main'] : [id.slice(0, at), id.slice(at + 1)];
  const [owner = '', name = '', ...rest] = path.split('/');
  const dotted = [owner, name, revision].some((part) => part.includes('..') || part.includes('//'));
  if (
    rest.length > 0 ||
    dotted ||
    !NAME.test(owner) ||
    !NAME.test(name) ||
    !REVISION.test(revision) ||
    /\/\.|\.\/|\.lock$/.test(revision)
  ) {
    throw new EngineError(
      'invalid-request',
      `${JSON.stringify(id.slice(0, 120))} is neither a hub id (owner/name or owner/name@revision) nor an http(s) URL.`,
    );
  }
  return { owner, name, revision };
}

async function openHub({ owner, name, revision }: HubId, options: OpenModelOptions): Promise<ModelFiles> {
  const hub = folder(checkUrl(options.hubUrl ?? DEFAULT_HUB));
  // A branch moves; every file must come from one commit, so it is looked up once.
  const commit = COMMIT.test(revision) ? revision : await resolveRevision(hub, { owner, name, revision }, options);
  return openFolderUrl(new URL(`${owner}/${name}/resolve/${commit}/`, hub), commit, `${owner}/${name}`, options);
}

async function resolveRevision(hub: URL, { owner, name, revision }: HubId, options: OpenModelOptions): Promise<string> {
  const url = new URL(`api/models/${owner}/${name}/revision/${encodeURIComponent(revision)}`, hub);
  const source = await openHttp(url, options, options.signal).catch((cause: unknown) => {
    if (!(cause instanceof EngineError) || cause.code !== 'not-found') throw cause;
    throw new EngineError(
      'not-found',
      `${hub.host} has no model ${owner}/${name} with a revision '${revision}'. Check the spelling.`,
      { cause },
    );
  });
  try {
    if (source.size > HUB_ANSWER_BYTES)
      throw new EngineError('storage', `${source.label} is too long an answer (${source.size} bytes).`);
    const bytes = new Uint8Array(source.size);
    await source.read(0, bytes, options.signal);
    const sha = readSha(new TextDecoder().decode(bytes));
    if (sha === undefined)
      throw new EngineError('storage', `${source.label} did not answer with a commit. Is ${hub.origin} a model hub?`);
    return sha;
  } finally {
    source.close();
  }
}

function readSha(text: string): string | undefined {
  try {
    const sha = (JSON.parse(text) as { sha?: unknown } | null)?.sha;
    return typeof sha === 'string' && COMMIT.test(sha) ? sha : undefined;
  } catch {
    return undefined;
  }
}

function openFolderUrl(url: URL, revision: string | undefined, label: string, options: OpenModelOptions): ModelFiles {
  const base = folder(url);
  return {
    label,
    revision,
    async open(name, signal = options.signal) {
      checkFileName(name);
      const file = new URL(encodeURIComponent(name), base);
      file.search = base.search; // a signed folder address signs every file in it
      return openHttp(file, options, signal);
    },
    close() {},
  };
}

/** With a trailing slash, so that names resolve inside it; without a fragment. */
function folder(url: URL): URL {
  const base = new URL(url);
  base.hash = '';
  if (!base.pathname.endsWith('/')) base.pathname += '/';
  return base;
}

/**
 * Files of one folder. A picked folder lists its subfolders too (webkitRelativePath): the model is the topmost folder that has a
 * config.json, and only files right in it count, so `original/config.json` cannot take its place.
 */
function openFiles(files: readonly File[]): ModelFiles {
  if (files.length === 0 || !files.every((file) => file instanceof Blob && typeof file.name === 'string')) {
    throw new EngineError('invalid-request', 'The list of model files is empty, or holds something that is not a File.');
  }
  const placed = files.map((file) => {
    const path = (file.webkitRelativePath || file.name).split('/');
    return { file, name: path.at(-1)!, folder: path.slice(0, -1).join('/'), depth: path.length };
  });
  placed.sort((a, b) => a.depth - b.depth);
  const root = placed.find(({ name }) => name === 'config.json') ?? placed[0]!;
  const byName = new Map<string, File>();
  for (const { file, name, folder } of placed) if (folder === root.folder && !byName.has(name)) byName.set(name, file);
  return {
    label: root.folder.split('/').at(-1) || root.name,
    revision: undefined,
    async open(name, signal): Promise<ByteSource> {
      throwIfAborted(signal);
      checkFileName(name);
      const file = byName.get(name);
      if (!file) throw new EngineError('not-found', `The chosen files do not include ${name}. Choose the model's whole folder.`);
      return blobSource(file, name);
    },
    close: () => byName.clear(),
  };
}

/** A folder handle, from the picker or from OPFS. */
export function openDirectoryHandle(directory: FileSystemDirectoryHandle): ModelFiles {
  return {
    label: directory.name || 'folder',
    revision: undefined,
    async open(name, signal) {
      throwIfAborted(signal);
      checkFileName(name);
      const handle = await directory.getFileHandle(name).catch((cause: unknown) => {
        throw fileSystemError(name, cause);
      });
      return openFileHandle(handle, name, signal);
    },
    close() {},
  };
}
