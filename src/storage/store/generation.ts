/**
 * One stored form of a model: a folder `g<n>` with the manifest, the texts, the weight files, the journal and the seal. The manifest
 * is written last (a folder without one is debris), and the highest number with a manifest is the model.
 */
import { EngineError } from '../../errors';
import { checkFileName } from '../file_name';
import type { StoreDirectory } from './directory';
import type { Xxh64 } from './hash';
import { checkedJson, readCheckedJson, readSmallFile, writeSmallFile } from './small_file';
import type { StoreManifest, Verified } from './types';

const FORMAT = 1;
const MANIFEST = 'manifest.json';
const SEAL = 'seal.json';

/** The manifest with the texts' hashes in place of their bytes. */
export type ManifestFacts = Omit<StoreManifest, 'texts'> & {
  format: number;
  createdAt: number;
  texts: { name: string; byteLength: number; hash: string }[];
};

/** What each file was like when the model was complete: a difference means that somebody touched it. */
type Seal = {
  files: { name: string; byteLength: number; lastModified: number }[];
  /** Lines of the journal that say 'present'. */
  chunks: number;
  verified: Verified;
};

export class Generation {
  private constructor(
    readonly number: number,
    readonly directory: StoreDirectory,
    readonly weights: StoreDirectory,
    readonly facts: ManifestFacts,
    readonly hash: Xxh64,
  ) {}

  /** Writes everything but the manifest, see `publish`. */
  static async create(model: StoreDirectory, number: number, manifest: StoreManifest, hash: Xxh64): Promise<Generation> {
    const facts = manifestFacts(manifest, hash);
    const directory = (await model.directory(folder(number), { create: true }))!;
    const weights = (await directory.directory('weights', { create: true }))!;
    const texts = (await directory.directory('texts', { create: true }))!;
    for (const [name, bytes] of Object.entries(manifest.texts)) await writeSmallFile(texts, name, bytes);
    return new Generation(number, directory, weights, facts, hash);
  }

  /** From here on the model is this. */
  async publish(): Promise<void> {
    await writeSmallFile(this.directory, MANIFEST, checkedJson(this.facts, this.hash));
  }

  /** undefined where the folder holds no whole manifest of this format. */
  static async open(model: StoreDirectory, number: number, hash: Xxh64): Promise<Generation | undefined> {
    const directory = await model.directory(folder(number));
    const weights = await directory?.directory('weights');
    if (!directory || !weights) return undefined;
    const facts = readCheckedJson(await readSmallFile(directory, MANIFEST), hash) as ManifestFacts | undefined;
    return facts?.format === FORMAT ? new Generation(number, directory, weights, facts, hash) : undefined;
  }

  get totalBytes(): number {
    return this.textBytes + this.facts.files.reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  get textBytes(): number {
    return this.facts.texts.reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  async readText(name: string): Promise<Uint8Array> {
    const fact = this.facts.texts.find((text) => text.name === name);
    if (!fact) throw new EngineError('not-found', `The stored model has no ${name}.`);
    const texts = await this.directory.directory('texts');
    const bytes = texts && (await readSmallFile(texts, name));
    if (!bytes || bytes.byteLength !== fact.byteLength || this.hash.of([bytes]) !== fact.hash) {
      throw new EngineError('storage', `The stored copy of ${name} is damaged. Delete the model and load it again.`);
    }
    return bytes;
  }

  async writeSeal(verified: Verified, chunks: number): Promise<void> {
    const files = await Promise.all(
      this.facts.files.map(async ({ name }) => ({ name, ...((await this.weights.stat(name)) ?? missing) })),
    );
    const seal: Seal = { files, chunks, verified };
    await writeSmallFile(this.directory, SEAL, checkedJson(seal, this.hash));
  }

  /** Before the first change to a sealed model. */
  async breakSeal(): Promise<void> {
    await this.directory.remove(SEAL);
  }

  /** undefined: never completed. `touched`: names of files that are not as they were. */
  async readSeal(): Promise<(Seal & { touched: Set<string> }) | undefined> {
    const seal = await this.readSealFile();
    if (!seal) return undefined;
    const touched = new Set<string>();
    await Promise.all(
      seal.files.map(async ({ name, byteLength, lastModified }) => {
        const now = await this.weights.stat(name);
        if (now?.byteLength !== byteLength || now.lastModified !== lastModified) touched.add(name);
      }),
    );
    return { ...seal, touched };
  }

  /** What the seal says, without looking at the files. */
  async readSealFile(): Promise<Seal | undefined> {
    return readCheckedJson(await readSmallFile(this.directory, SEAL), this.hash) as Seal | undefined;
  }
}

const missing = { byteLength: -1, lastModified: -1 };

export function folder(number: number): string {
  return `g${number}`;
}

/** Numbers of the generation folders in a model's folder, highest first, whole or not. */
export async function generationNumbers(model: StoreDirectory): Promise<number[]> {
  const numbers = (await model.list()).map(({ name }) => Number(/^g(\d{1,9})$/.exec(name)?.[1] ?? Number.NaN));
  return numbers.filter((number) => !Number.isNaN(number)).sort((a, b) => b - a);
}

export async function currentGeneration(model: StoreDirectory, hash: Xxh64): Promise<Generation | undefined> {
  for (const number of await generationNumbers(model)) {
    const found = await Generation.open(model, number, hash);
    if (found) return found;
  }
  return undefined;
}

/** @throws EngineError 'invalid-request' for a name or size that cannot be stored. */
export function manifestFacts(manifest: StoreManifest, hash: Xxh64): ManifestFacts {
  const { key, label, revision, version, layoutVersion } = manifest;
  for (const name of Object.keys(manifest.texts)) checkFileName(name);
  for (const { name, byteLength } of manifest.files) {
    checkFileName(name);
    if (!Number.isSafeInteger(byteLength) || byteLength < 0)
      throw new EngineError('invalid-request', `${name}: ${byteLength} is no length.`);
  }
  const texts = Object.entries(manifest.texts).map(([name, bytes]) => ({
    name,
    byteLength: bytes.byteLength,
    hash: hash.of([bytes]),
  }));
  texts.sort((a, b) => (a.name < b.name ? -1 : 1));
  const files = manifest.files.map(({ name, byteLength }) => ({ name, byteLength }));
  const origins = manifest.origins.map((origin) => ({ ...origin }));
  return { format: FORMAT, createdAt: Date.now(), key, label, revision, version, layoutVersion, texts, files, origins };
}

/** The same bytes in the same places: a download of one continues the other. */
export function sameModel(a: ManifestFacts, b: ManifestFacts): boolean {
  const essence = ({ key, revision, layoutVersion, texts, files, origins }: ManifestFacts) =>
    JSON.stringify([
      key,
      revision,
      layoutVersion,
      texts.map(({ name, hash }) => [name, hash]),
      files.map(({ name, byteLength }) => [name, byteLength]),
      origins.map(({ file, byteLength, sha256, headerBytes }) => [file, byteLength, sha256, headerBytes]),
    ]);
  // An ETag may be hidden from scripts one day and not the next; two that differ are two files.
  const etags = new Map(b.origins.map(({ file, etag }) => [file, etag]));
  const sameEtags = a.origins.every(({ file, etag }) => !etag || !etags.get(file) || etag === etags.get(file));
  return essence(a) === essence(b) && sameEtags;
}
