/**
 * The experts of a mixture, layer by layer: how often the one that a token chose was in GPU memory. Drawn a few times a second while the panel
 * is open, also while a reply runs. The picture is a drawing of the words below it, which are no live region.
 */
import type { EngineInfo } from '../src/api';
import { required } from './dom';
import { formatCount, formatShare } from './format';

type Experts = NonNullable<EngineInfo['experts']>;

const DRAW_MS = 400;

/** Share of choices whose expert was there, for each layer; undefined where nothing was chosen yet. Pure. */
export function hitShares({ hits, misses }: Experts): (number | undefined)[] {
  return hits.map((found, layer) => (found + misses[layer]! > 0 ? found / (found + misses[layer]!) : undefined));
}

/** 'Of 1,280 choices 91 % found their expert in GPU memory. Fewest: layer 3, 74 %. Most: layer 0, 98 %.' Pure. */
export function expertsText(experts: Experts): string {
  const sum = (counts: number[]) => counts.reduce((total, count) => total + count, 0);
  const [found, all] = [sum(experts.hits), sum(experts.hits) + sum(experts.misses)];
  if (all === 0) return 'No token has chosen an expert yet.';
  const shares = hitShares(experts).map((share) => share ?? 1);
  const place = (share: number) => `layer ${shares.indexOf(share)}, ${formatShare(share)}`;
  const ends = `Fewest: ${place(Math.min(...shares))}. Most: ${place(Math.max(...shares))}.`;
  return `Of ${formatCount(all)} choices ${formatShare(found / all)} found their expert in GPU memory. ${ends}`;
}

export class ExpertPicture {
  readonly #figure = required('experts', HTMLElement);
  readonly #bars = required('experts-bars', HTMLElement);
  readonly #text = required('experts-text', HTMLElement);
  #timer: ReturnType<typeof setTimeout> | undefined;
  #following = 0;

  /** Until `stop`. `read` gives what is known now; undefined where all experts fit, or there are none. */
  start(read: () => Promise<Experts | undefined>): void {
    this.stop();
    void this.#follow(read, this.#following);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#following++;
  }

  async #follow(read: () => Promise<Experts | undefined>, turn: number): Promise<void> {
    const experts = await read();
    if (turn !== this.#following) return;
    this.#show(experts);
    this.#timer = setTimeout(() => void this.#follow(read, turn), DRAW_MS);
  }

  #show(experts: Experts | undefined): void {
    this.#figure.hidden = !experts;
    if (!experts) return;
    const shares = hitShares(experts);
    while (this.#bars.childElementCount < shares.length) this.#bars.append(document.createElement('span'));
    while (this.#bars.childElementCount > shares.length) this.#bars.lastChild!.remove();
    shares.forEach((share = 0, layer) => {
      (this.#bars.children[layer] as HTMLElement).style.setProperty('--hits', String(share));
    });
    this.#text.textContent = expertsText(experts);
  }
}
