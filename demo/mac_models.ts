/** Which model a Mac starts with, and in how much of its memory. Safari tells nothing about memory, so the visitor does. Pure. */
import { CATALOGUE, type CatalogueEntry, choiceOfEntry } from './catalogue';

export type MacModel = { id: string; name: string; bytes: number; summary: string };
export type MacMemory = '8' | '16' | '24' | '32';
/** `entry`: what the catalogue knows of the model. `gpuBudget`: bytes. */
export type MacChoice = { model: MacModel; entry: CatalogueEntry; gpuBudget: number };

/** Served with this page. */
export const storyModel: MacModel = {
  id: 'bundled',
  name: 'Story model',
  bytes: 7.6e6,
  summary: 'A toy that writes children’s stories. It shows in a minute that everything works.',
};

const byMemory: Record<MacMemory, MacChoice> = {
  '8': choice('Qwen3.5 2B', 2e9, '4-bit, all of it in memory. Short answers, quick.'),
  '16': choice('Qwen3.5 4B', 4e9, '4-bit, all of it in memory, and room for everything else that runs.'),
  '24': choice('Qwen3.5 9B', 7e9, '4-bit, all of it in memory.'),
  '32': choice('Qwen3.5 9B', 10e9, '4-bit, all of it in memory, with a long context.'),
};

function choice(named: string, gpuBudget: number, summary: string): MacChoice {
  const entry = CATALOGUE.find(({ name }) => name === named)!;
  const { id } = choiceOfEntry(entry);
  return { entry, gpuBudget, model: { id, name: named, bytes: entry.bytes, summary } };
}

export const macMemories = Object.keys(byMemory) as MacMemory[];

/** A budget of at most a quarter of 8 and of 16 GB, and never a third of more. */
export const choiceFor = (memory: MacMemory): MacChoice => byMemory[memory];

/** Above this a download is worth thinking about where it will be kept. */
const explainAboveBytes = 1e9;

/** In Safari alone, where it keeps anything, and not in a Dock app, which is exempt. */
export function mustExplainDeletion(
  model: MacModel,
  { safari, standalone, privateFiles }: { safari: boolean; standalone: boolean; privateFiles: boolean },
): boolean {
  return safari && privateFiles && !standalone && model.bytes > explainAboveBytes;
}
