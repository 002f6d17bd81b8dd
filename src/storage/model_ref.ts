/** From what a user names - a hub id, a URL, a folder - to the files of one model. */
import { EngineError, throwIfAborted } from '../errors';
import { blobSource } from './blob';
import type { ByteSource, ModelFiles } from './byte_source';
import { checkFileName } from './file_name';
import { openHttp } from './http';
import { checkUrl, type HttpOptions, urlLabel } from './http_request';
import { type HubId, hubListing, parseHubId, resolveRevision } from './hub';
import { fileSystemError, openFileHandle } from './opfs';

export type OpenModelOptions = HttpOptions & {
  /** Base URL that hub ids resolve against. Default https://huggingface.co. */
  hubUrl?: string;
  signal?: AbortSignal;
};

/** The same as protocol's ModelRef, which this room may not import. */
type Ref = string | URL | readonly File[] | FileList | FileSystemDirectoryHandle;

const DEFAULT_HUB = 'https://huggingface.co';

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

async function openHub(id: HubId, options: OpenModelOptions): Promise<ModelFiles> {
  const { owner, name } = id;
  const hub = folder(checkUrl(options.hubUrl ?? DEFAULT_HUB));
  // A branch moves; every file must come from one commit, so it is looked up once.
  const revision = await resolveRevision(hub, id, options, options.signal);
  const files = openFolderUrl(new URL(`${owner}/${name}/resolve/${revision}/`, hub), revision, `${owner}/${name}`, options);
  const lookUp = hubListing(hub, { owner, name, revision }, options);
  return { ...files, expected: (file, signal = options.signal) => lookUp(file, signal) };
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
