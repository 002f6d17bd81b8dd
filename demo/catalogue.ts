/**
 * Models that this page offers by name. Sizes are of the text model, which is what is downloaded; vision and MTP tensors are left out. What is
 * not known is said to be unknown: a licence only where it was read. Commits are those that public projects have loaded and written down, two or
 * more of them each. Pure.
 */
import type { ModelChoice } from './model_choice';
import type { PresetFamily } from './presets';

export type CatalogueEntry = {
  id: string;
  name: string;
  summary: string;
  /** Bytes to download. */
  bytes: number;
  /** undefined: not stated. */
  licence: string | undefined;
  /** All of its files come from this one, whatever the branch holds by then. */
  commit: string;
  /** 'weights': these very files were run; 'vectors': the architecture was held against reference logits of small random checkpoints. */
  checked: 'weights' | 'vectors';
  family: PresetFamily;
};

const apache = { licence: 'Apache-2.0', checked: 'vectors' } as const;

export const CATALOGUE: readonly CatalogueEntry[] = [
  {
    id: 'Qwen/Qwen3.5-0.8B',
    commit: '2fc06364715b967f1860aea9cf38778875588b17',
    name: 'Qwen3.5 0.8B',
    summary: 'BF16. Small and quick; simple questions.',
    bytes: 1.505e9,
    family: 'qwen35-small',
    ...apache,
  },
  {
    id: 'mlx-community/Qwen3.5-2B-MLX-4bit',
    commit: '93760be4f1f69842a46bc13dbdc0f19e291392a3',
    name: 'Qwen3.5 2B',
    summary: '4-bit. For laptops with little memory.',
    bytes: 1.059e9,
    family: 'qwen35-small',
    ...apache,
  },
  {
    id: 'mlx-community/Qwen3.5-4B-MLX-4bit',
    commit: '32f3e8ecf65426fc3306969496342d504bfa13f3',
    name: 'Qwen3.5 4B',
    summary: '4-bit. A good start on most laptops.',
    bytes: 2.367e9,
    family: 'qwen35',
    ...apache,
  },
  {
    id: 'mlx-community/Qwen3.5-9B-MLX-4bit',
    commit: '938d8919941c6e7efd3c7150eff7fe9d12afa631',
    name: 'Qwen3.5 9B',
    summary: '4-bit. For 16 GB of memory and more.',
    bytes: 5.038e9,
    family: 'qwen35',
    ...apache,
  },
  {
    id: 'mlx-community/Qwen3.5-27B-4bit',
    commit: '45797d2985a12c55e6473686e9ea91b95e959553',
    name: 'Qwen3.5 27B',
    summary: '4-bit. For large GPUs; elsewhere it streams.',
    bytes: 15.133e9,
    family: 'qwen35',
    ...apache,
  },
];

export const CHECKED_WORDS: Record<CatalogueEntry['checked'], string> = {
  weights: 'Checked with: real weights',
  vectors: 'Checked with: vectors only',
};

export function choiceOfEntry({ id, commit }: CatalogueEntry): Extract<ModelChoice, { kind: 'hub' }> {
  return { kind: 'hub', id: `${id}@${commit}` };
}

export function pinText({ commit }: CatalogueEntry): string {
  return `pinned to ${commit.slice(0, 8)}`;
}

/** Where a licence, or what there is of one, can be read before anything is downloaded. */
export function modelCard(id: string): string {
  const [name] = id.split('@', 1);
  return `https://huggingface.co/${name}`;
}
