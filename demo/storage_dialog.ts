/** The storage panel: what is kept in this browser, how much room there is, and how long it stays. */
import { deleteModel, listModels, type StoredModel } from '../src/api';
import { hide, onPress, prepareDialog, required, setUnavailable } from './dom';
import { Downloads } from './downloads';
import { errorText, formatBytes } from './format';
import type { ModelChoice } from './model_choice';
import { choiceOf, inOrder, nameOf, roomText } from './stored_list';
import { StoredModelView } from './stored_model_view';

export type StorageHooks = { onLoad(choice: ModelChoice): void; say(text: string): void };

const KEPT = 'The browser keeps them until you delete them.';
const NOT_KEPT =
  'The browser may remove them when the disk runs low, and Safari after seven days without a visit. ' +
  'It can be asked to keep them; some browsers decide by themselves, others ask you.';
const REFUSED = 'The browser did not agree. It may once you have used this page more, or have bookmarked or installed it.';

export class StorageDialog {
  readonly #dialog = required('storage', HTMLDialogElement);
  readonly #list = required('storage-list', HTMLElement);
  readonly #room = required('storage-room', HTMLElement);
  readonly #error = required('storage-error', HTMLElement);
  readonly #kept = required('storage-kept', HTMLElement);
  readonly #keep = required('storage-keep', HTMLButtonElement);
  readonly #title = required('storage-title', HTMLElement);
  readonly #views = new Map<string, StoredModelView>();
  readonly #downloads = new Downloads(
    (id) => this.#views.get(id)?.showDownload(this.#downloads.state(id)),
    (id, error) => this.#ended(id, error),
  );

  constructor(private readonly hooks: StorageHooks) {
    prepareDialog(this.#dialog);
    onPress(this.#keep, () => void this.#askToKeep());
  }

  open(): void {
    this.#error.textContent = '';
    for (const [id, view] of this.#views) view.showError(this.#downloads.failure(id));
    if (this.#views.size === 0) this.#room.textContent = 'Looking…';
    this.#dialog.showModal();
    void this.#refresh();
    void this.#showKept();
  }

  async #refresh(): Promise<void> {
    try {
      const [models, estimate] = await Promise.all([listModels(), estimateRoom()]);
      this.#show(inOrder(models));
      this.#room.textContent = roomText({ models, usage: estimate.usage, quota: estimate.quota });
    } catch (error) {
      this.#show([]);
      this.#room.textContent = '';
      this.#error.textContent = errorText(error);
    }
  }

  /** Rows stay the same elements while their model does, so that the focus in one survives. */
  #show(models: readonly StoredModel[]): void {
    const gone = new Set(this.#views.keys());
    for (const model of models) {
      gone.delete(model.id);
      this.#viewOf(model).show(model, Date.now());
      this.#viewOf(model).showDownload(this.#downloads.state(model.id));
    }
    for (const id of gone) {
      hide(this.#views.get(id)!.root, this.#title);
      this.#views.delete(id);
    }
    const wanted = models.map(({ id }) => this.#views.get(id)!.root);
    if (wanted.length !== this.#list.childElementCount || wanted.some((root, i) => root !== this.#list.children[i]))
      this.#list.replaceChildren(...wanted);
  }

  #viewOf(model: StoredModel): StoredModelView {
    const existing = this.#views.get(model.id);
    if (existing) return existing;
    const choice = choiceOf(model, document.baseURI);
    const view = new StoredModelView(nameOf(model, document.baseURI), choice !== undefined, {
      onLoad: () => {
        this.#dialog.close();
        this.hooks.onLoad(choice!);
      },
      onResume: () => this.#downloads.start(model.id, model.model),
      onPause: (paused) => this.#downloads.setPaused(model.id, paused),
      onCancel: () => this.#downloads.cancel(model.id),
      onDelete: () => void this.#delete(model, view),
    });
    this.#views.set(model.id, view);
    return view;
  }

  async #delete(model: StoredModel, view: StoredModelView): Promise<void> {
    try {
      await deleteModel(model.id);
      this.hooks.say(`Deleted. ${formatBytes(model.storedBytes)} are free again.`);
    } catch (error) {
      view.showError(error);
    }
    await this.#refresh();
  }

  #ended(id: string, error: unknown): void {
    this.#views.get(id)?.showDownload(undefined);
    this.#views.get(id)?.showError(this.#downloads.failure(id));
    this.hooks.say(error === undefined ? 'The download is complete' : `The download stopped. ${errorText(error)}`);
    if (this.#dialog.open) void this.#refresh();
  }

  async #showKept(): Promise<void> {
    const kept = await ask(() => navigator.storage.persisted());
    this.#kept.textContent = kept ? KEPT : NOT_KEPT;
    setUnavailable(this.#keep, kept === true);
  }

  async #askToKeep(): Promise<void> {
    const kept = await ask(() => navigator.storage.persist());
    if (kept) await this.#showKept();
    else this.#kept.textContent = REFUSED;
    this.hooks.say(this.#kept.textContent ?? '');
  }
}

async function estimateRoom(): Promise<StorageEstimate> {
  return (await ask(() => navigator.storage.estimate())) ?? {};
}

/** Undefined where the browser has no answer: no secure context, or storage is switched off. */
async function ask<T>(question: () => Promise<T>): Promise<T | undefined> {
  try {
    return await question();
  } catch {
    return undefined;
  }
}
