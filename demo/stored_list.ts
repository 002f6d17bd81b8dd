/** Stored models in words. Pure. */
import type { StoredModel } from '../src/api';
import { formatBytes, formatCount, isolated } from './format';
import { type ModelChoice, modelRefOf, parseHubId } from './model_choice';

/** '3.2 of 15.1 GB, incomplete' or '15.1 GB'. */
export function sizeText({ storedBytes, totalBytes, complete }: StoredModel): string {
  if (complete) return formatBytes(storedBytes);
  return `${formatBytes(storedBytes)} of ${formatBytes(totalBytes)}, incomplete`;
}

const VERIFIED: Record<StoredModel['verified'], { text: string; title: string }> = {
  hub: { text: 'verified', title: 'Every file matches the sha256 that the hub names.' },
  partial: {
    text: 'not verified against the hub',
    title: 'Parts that text does not need were left out, so whole files could not be compared. Every stored chunk is checked.',
  },
  unknown: { text: 'not verified', title: 'The server names no sha256 to compare with. Every stored chunk is checked.' },
};

/** Nothing is said of a model that is still to be downloaded. */
export function verifiedText({ complete, verified }: StoredModel): { text: string; title: string } | undefined {
  return complete ? VERIFIED[verified] : undefined;
}

const UNITS: [Intl.RelativeTimeFormatUnit, number][] = [
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
];
const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

/** 'used 3 days ago'. */
export function lastUseText({ lastUsedAt }: Pick<StoredModel, 'lastUsedAt'>, now: number): string {
  const age = Math.max(0, now - lastUsedAt);
  const [unit, ms] = UNITS.find(([, unitMs]) => age >= unitMs) ?? [];
  return unit ? `used ${relative.format(-Math.floor(age / ms!), unit)}` : 'used just now';
}

/** Complete ones before incomplete ones, the last used first. */
export function inOrder(models: readonly StoredModel[]): StoredModel[] {
  return [...models].sort((a, b) => Number(b.complete) - Number(a.complete) || b.lastUsedAt - a.lastUsedAt);
}

/** What choosing a stored model would load; undefined for a URL that this page has no way to name. */
export function choiceOf({ model }: Pick<StoredModel, 'model'>, baseUri: string): ModelChoice | undefined {
  if (isSameFolder(model, String(modelRefOf({ kind: 'bundled' }, baseUri)))) return { kind: 'bundled' };
  const id = parseHubId(model);
  return 'value' in id ? { kind: 'hub', id: id.value } : undefined;
}

/** 'Story model' for the one that comes with the page, else what it was asked for as. */
export function nameOf(model: StoredModel, baseUri: string): string {
  const revision = model.revision ? ` (${model.revision.slice(0, 8)})` : '';
  return choiceOf(model, baseUri)?.kind === 'bundled' ? 'Story model' : `${isolated(model.model)}${revision}`;
}

function isSameFolder(a: string, b: string): boolean {
  return a.replace(/\/+$/, '') === b.replace(/\/+$/, '');
}

export type Room = { models: readonly StoredModel[]; usage: number | undefined; quota: number | undefined };

/** '3 models, 22.4 GB. The browser allows this site at least 60.0 GB.' Chrome names less than it grants. */
export function roomText({ models, quota, usage }: Room): string {
  const bytes = models.reduce((sum, { storedBytes }) => sum + storedBytes, 0);
  const noun = models.length === 1 ? 'model' : 'models';
  const count = models.length === 0 ? 'No model is stored' : `${formatCount(models.length)} ${noun}, ${formatBytes(bytes)}`;
  if (quota === undefined) return `${count}.`;
  return `${count}. The browser allows this site at least ${formatBytes(quota)}, of which ${formatBytes(usage ?? 0)} are in use.`;
}
