/** What every check is given. */
import type { Gpu } from '../gpu/device';
import type { Plant } from './plant';

export type ExamOptions = {
  /** The folder of the bundled model. */
  modelUrl: string;
  /** Most GPU memory that the ladder tries to hold; default 4 GiB, a quarter of 1 GiB on a CPU adapter. */
  memoryBytes?: number;
  /** Of the file that is written and read; default 1 GiB, 256 MiB on a phone or tablet, 16 MiB on a CPU adapter. */
  diskBytes?: number;
  /** A phone or a tablet, whose flash and patience are small. */
  handheld?: boolean;
  /** A part of the names of the kernels to run. */
  only?: string;
  plant?: Plant;
};

/** `heldBytes`: GPU memory that the ladder holds once this step is done. */
export type Progress = { done: number; total: number; step: string; heldBytes?: number };

export type Context = {
  options: ExamOptions;
  /** One device for all checks, and another one once it is lost. @throws EngineError 'unsupported' */
  gpu(): Promise<Gpu>;
  /** Resolves when the page has kept the step where a dead tab leaves it. */
  say(progress: Progress): Promise<void>;
};

/** A check's findings, without the time it took. */
export type Outcome<Facts> = {
  status: 'passed' | 'noted' | 'failed' | 'skipped';
  summary: string;
  problems?: string[];
  facts: Facts;
};

/** Where a fault was to be put in and came to nothing, that is told: else what passed would look like what withstood it. */
export function withIdlePlant<Facts>(outcome: Outcome<Facts>, whyIdle: string | undefined): Outcome<Facts> {
  if (whyIdle === undefined) return outcome;
  const status = outcome.status === 'failed' ? 'failed' : 'noted';
  return { ...outcome, status, problems: [...(outcome.problems ?? []), whyIdle] };
}

export const mib = 2 ** 20;
export const gib = 2 ** 30;

/** Of probes, a quarter of what the visitor lets the ladder try, in whole pieces: the ladder itself comes last. */
export const probeBytes = ({ memoryBytes = 4 * gib }: ExamOptions): number =>
  Math.min(gib, Math.max(64 * mib, Math.floor(memoryBytes / 4 / (64 * mib)) * 64 * mib));

export const plural = (count: number, noun: string): string => `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`;
/** Binary units, as memory is made of: '1.5 GiB'. */
export const bytesText = (bytes: number): string =>
  bytes >= gib ? `${trim(bytes / gib)} GiB` : bytes >= mib ? `${trim(bytes / mib)} MiB` : `${bytes} bytes`;
const trim = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toPrecision(3).replace(/\.?0+$/, ''));

/** Empty where the browser does not tell, or has no storage here: an insecure address has none at all. */
export const storageEstimate = async (): Promise<StorageEstimate> =>
  (await navigator.storage?.estimate?.().catch(() => undefined)) ?? {};
