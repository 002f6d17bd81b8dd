/** Which model the visitor asked for, and what createEngine is given for it. Pure. */
import type { ModelRef } from '../src/api';
import { shortName } from './attachments';

export type ModelChoice =
  | { kind: 'bundled' }
  /** `token` lives in memory only, for as long as this choice does. */
  | { kind: 'hub'; id: string; token?: string }
  | { kind: 'local'; name: string; ref: readonly File[] | FileSystemDirectoryHandle };

export type Parsed<T> = { value: T } | { message: string };

/** The bundled model lies beside the page, under whatever base path the page is served from. */
export const BUNDLED_MODEL_PATH = 'demo/model/';

export function modelRefOf(choice: ModelChoice, baseUri: string): ModelRef {
  if (choice.kind === 'bundled') return new URL(BUNDLED_MODEL_PATH, baseUri);
  return choice.kind === 'hub' ? choice.id : choice.ref;
}

/** A commit is as long as a name: its first eight digits tell it apart. */
export function modelLabel(choice: ModelChoice): string {
  if (choice.kind === 'bundled') return 'Story model';
  return choice.kind === 'hub' ? choice.id.replace(/@([0-9a-f]{8})[0-9a-f]{32}$/, '@$1') : choice.name;
}

const NAME = '[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?';
const HUB_ID = new RegExp(`^${NAME}/${NAME}(?:@[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9_-])?)?$`);
const HUB_PAGE =
  /^(?:https?:\/\/)?(?:www\.)?(?:huggingface\.co|hf\.co)\/([^/?#\s]+\/[^/?#\s]+)(?:\/(?:tree|resolve|blob)\/([^/?#\s]+))?/i;

/** `owner/name` or `owner/name@revision`. The engine checks again: this is here for a message that helps. */
export function parseHubId(input: string): Parsed<string> {
  const text = input.trim();
  if (text === '') return { message: 'Enter a model id, for example Qwen/Qwen3.5-0.8B.' };
  const page = HUB_PAGE.exec(text);
  if (page) return { message: `That is the address of a page. The id is ${page[1]}${page[2] ? `@${page[2]}` : ''}` };
  if (/^[a-z]+:/i.test(text)) return { message: 'That is an address. Enter the id alone: owner/name.' };
  if (/\s/.test(text)) return { message: 'A model id holds no spaces.' };
  const name = text.split('@', 1)[0]!;
  const slashes = name.split('/').length - 1;
  if (slashes === 0) return { message: `The owner is missing: write owner/${name || 'name'}.` };
  if (slashes > 1) return { message: 'A model id has one slash: owner/name. A branch or commit follows an @.' };
  if (text.endsWith('@'))
    return { message: 'After the @ comes a branch, a tag or a commit. Leave the @ out for the main branch.' };
  if (text.includes('..') || text.includes('//') || text.endsWith('/') || !HUB_ID.test(text)) {
    return { message: 'Owner, name and revision are made of letters, digits, dots, hyphens and underscores.' };
  }
  return { value: text };
}

type PickedFile = Pick<File, 'name' | 'webkitRelativePath'>;

/** Keeps the files of the one folder that holds config.json: a folder picker hands over its subfolders too. */
export function filesOfModelFolder<F extends PickedFile>(files: readonly F[]): F[] {
  const configs = files.filter((file) => file.name === 'config.json').map(folderOf);
  const folder = configs.sort((a, b) => depth(a) - depth(b))[0];
  return folder === undefined ? [...files] : files.filter((file) => folderOf(file) === folder);
}

/** Says which files a model folder lacks, before a worker is started for it. */
export function checkModelFiles<F extends PickedFile>(picked: readonly F[]): Parsed<F[]> {
  const files = filesOfModelFolder(picked);
  const names = new Set(files.map((file) => file.name));
  const missing = ['config.json', 'tokenizer.json'].filter((name) => !names.has(name));
  if (![...names].some((name) => name.endsWith('.safetensors'))) missing.push('a .safetensors file');
  if (missing.length === 0) return { value: files };
  return { message: `Missing: ${missing.join(', ')}. Choose the whole folder of the model, or all of its files at once.` };
}

/** What lies on this device, under a name that turns no text around it. */
export function localChoice(name: string, ref: readonly File[] | FileSystemDirectoryHandle): ModelChoice {
  return { kind: 'local', name: shortName(name, 'Local files'), ref };
}

/** The folder's own name where the browser tells it, else the weight file's. */
export function localName(files: readonly PickedFile[]): string {
  const folder = files[0] ? folderOf(files[0]) : '';
  return folder.split('/').pop() || files.find((file) => file.name.endsWith('.safetensors'))?.name || 'Local files';
}

function folderOf(file: PickedFile): string {
  return file.webkitRelativePath.split('/').slice(0, -1).join('/');
}

function depth(folder: string): number {
  return folder === '' ? 0 : folder.split('/').length;
}
