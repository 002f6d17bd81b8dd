/**
 * What this page remembers of its last visit. Safari deletes everything that a script stored at once, this record too, so the address says
 * it as well: a bookmark, a restored tab and a Dock app still know what was here.
 */
import { formatProgressBytes } from './format';
import { type MacMemory, macMemories } from './mac_models';
import { readItem, writeItem } from './settings';

export type MacRecord = { memory: MacMemory; model: string; complete: boolean };

const KEY = 'sluice.safari';

export function loadRecord(hash: string): MacRecord | undefined {
  return parsed(readItem(KEY)) ?? fromHash(hash);
}

export function saveRecord(record: MacRecord | undefined): void {
  writeItem(KEY, record ? JSON.stringify(record) : null); // where storage is off, the address remembers
  history.replaceState(null, '', record ? hashOf(record) : location.pathname + location.search);
}

export const hashOf = ({ memory, model, complete }: MacRecord): string =>
  `#${new URLSearchParams({ memory, model, ...(complete ? { kept: '' } : {}) })}`;

export function fromHash(hash: string): MacRecord | undefined {
  const words = new URLSearchParams(hash.replace(/^#/, ''));
  return checked({ memory: words.get('memory'), model: words.get('model'), complete: words.has('kept') });
}

function parsed(text: string | null): MacRecord | undefined {
  try {
    return checked(JSON.parse(text ?? 'null'));
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function checked(value: { [K in keyof MacRecord]?: unknown } | null): MacRecord | undefined {
  const memory = macMemories.find((known) => known === value?.memory);
  if (!memory || typeof value?.model !== 'string' || value.model === '') return undefined;
  return { memory, model: value.model, complete: value.complete === true };
}

const withoutSlash = (address: string): string => address.replace(/\/$/, '');

type Stored = { model: string; storedBytes: number; totalBytes: number; complete: boolean };

/** What became of the last visit's model. */
export type Kept = { state: 'new' | 'ready' | 'evicted' } | { state: 'begun'; storedBytes: number; totalBytes: number };

/** `stored`: what is in the browser's store now. */
export function keptOf(record: MacRecord | undefined, stored: readonly Stored[]): Kept {
  if (!record) return { state: 'new' };
  const found = stored.find(({ model }) => withoutSlash(model) === withoutSlash(record.model));
  if (found?.complete) return { state: 'ready' };
  if (found && found.storedBytes > 0) return { state: 'begun', storedBytes: found.storedBytes, totalBytes: found.totalBytes };
  return { state: record.complete ? 'evicted' : 'new' };
}

/** For people; empty where there is nothing to tell. `standalone`: in an app from the Dock, whose storage began empty whatever Safari kept. */
export function keptWords(kept: Kept, standalone: boolean): string {
  switch (kept.state) {
    case 'new':
      return '';
    case 'ready':
      return 'The model is still here. It starts without a download.';
    case 'begun': {
      const { storedBytes: loaded, totalBytes: total } = kept;
      return `${formatProgressBytes({ loaded, total })} are here; the download goes on from there.`;
    }
    case 'evicted':
      return standalone
        ? 'The model is not in this app’s own storage, where nothing comes along that a Safari window kept. It has to be downloaded.'
        : 'The browser has deleted the model since then, as Safari does after seven days of use without a visit. It has to be downloaded again.';
  }
}
