/** Which model a Mac starts with, and in how much of its memory. Safari tells nothing about memory, so the visitor does. Pure. */

export type MacModel = { id: string; name: string; bytes: number; summary: string };
export type MacMemory = '8' | '16' | '24' | '32';

/** Served with this page. */
export const storyModel: MacModel = {
  id: 'bundled',
  name: 'Story model',
  bytes: 7.6e6,
  summary: 'A toy that writes children’s stories. It shows in a minute that everything works.',
};

const byMemory: Record<MacMemory, { model: MacModel; gpuBudget: number }> = {
  '8': {
    model: {
      id: 'mlx-community/Qwen3.5-2B-MLX-4bit',
      name: 'Qwen3.5 2B',
      bytes: 1.059e9,
      summary: '4-bit, all of it in memory. Short answers, quick.',
    },
    gpuBudget: 2e9,
  },
  '16': {
    model: {
      id: 'mlx-community/Qwen3.5-4B-MLX-4bit',
      name: 'Qwen3.5 4B',
      bytes: 2.367e9,
      summary: '4-bit, all of it in memory, and room for everything else that runs.',
    },
    gpuBudget: 4e9,
  },
  '24': {
    model: {
      id: 'mlx-community/Qwen3.5-9B-MLX-4bit',
      name: 'Qwen3.5 9B',
      bytes: 5.038e9,
      summary: '4-bit, all of it in memory.',
    },
    gpuBudget: 7e9,
  },
  '32': {
    model: {
      id: 'mlx-community/Qwen3.5-9B-MLX-4bit',
      name: 'Qwen3.5 9B',
      bytes: 5.038e9,
      summary: '4-bit, all of it in memory, with a long context.',
    },
    gpuBudget: 10e9,
  },
};

export const macMemories = Object.keys(byMemory) as MacMemory[];

/** `gpuBudget` in bytes: at most a quarter of 8 and of 16 GB, and never a third of more. */
export const choiceFor = (memory: MacMemory): { model: MacModel; gpuBudget: number } => byMemory[memory];

/** Above this a download is worth thinking about where it will be kept. */
const explainAboveBytes = 1e9;

/** In Safari alone, where it keeps anything, and not in a Dock app, which is exempt. */
export function mustExplainDeletion(
  model: MacModel,
  { safari, standalone, privateFiles }: { safari: boolean; standalone: boolean; privateFiles: boolean },
): boolean {
  return safari && privateFiles && !standalone && model.bytes > explainAboveBytes;
}
