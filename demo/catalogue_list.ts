/** The catalogue in the picker: what a model is, what it weighs, under which licence, and how fast it would be here, before anything is fetched. */
import type { PlanReport } from '../src/api';
import { cardLink } from './card_link';
import { CATALOGUE, type CatalogueEntry, CHECKED_WORDS, choiceOfEntry, pinText } from './catalogue';
import { cloneTemplate, onPress, part, required, setUnavailable } from './dom';
import { errorText, formatBytes } from './format';
import type { ModelChoice } from './model_choice';
import { outcomeText } from './plan_view';
import { isAbort } from './session';

export type CatalogueHooks = {
  onLoad(choice: ModelChoice): void;
  /** Reads a model's headers, and measures the device for a moment. */
  plan(choice: ModelChoice, signal: AbortSignal): Promise<PlanReport>;
};

export class CatalogueList {
  #predicting = new AbortController();

  constructor(private readonly hooks: CatalogueHooks) {
    required('catalogue', HTMLElement).append(...CATALOGUE.map((entry) => this.#item(entry)));
  }

  /** The picker was closed. */
  stop(): void {
    this.#predicting.abort();
    this.#predicting = new AbortController();
  }

  #item(entry: CatalogueEntry): HTMLElement {
    const root = cloneTemplate('catalogue-entry');
    const choice = choiceOfEntry(entry);
    const texts = { name: entry.name, summary: entry.summary, size: formatBytes(entry.bytes), pin: pinText(entry) };
    for (const [name, text] of Object.entries(texts)) part(root, name).textContent = text;
    part(root, 'checked').textContent = CHECKED_WORDS[entry.checked];
    part(root, 'licence').append(cardLink(entry));
    const [load, predict] = [part(root, 'load'), part(root, 'predict')];
    load.setAttribute('aria-label', `Load ${entry.name}, ${texts.size}`);
    predict.setAttribute('aria-label', `Predict speed: ${entry.name}`);
    onPress(load, () => this.hooks.onLoad(choice));
    onPress(predict, () => void this.#predict(choice, root));
    return root;
  }

  async #predict(choice: ModelChoice, root: HTMLElement): Promise<void> {
    const { signal } = this.#predicting;
    const [words, button] = [part(root, 'speed'), part(root, 'predict')];
    words.textContent = 'Reading the model’s headers and measuring this device…';
    setUnavailable(button, true);
    try {
      const plan = await this.hooks.plan(choice, signal);
      words.textContent = `Predicted here, in ${formatBytes(plan.gpu.total)} of GPU memory: ${outcomeText(plan)}`;
    } catch (error) {
      words.textContent = isAbort(error) ? '' : errorText(error);
    }
    setUnavailable(button, false);
  }
}
