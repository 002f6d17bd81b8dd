/** One stored model in the storage panel. Built from the template of index.html. */
import type { StoredModel } from '../src/api';
import { cloneTemplate, onPress, part } from './dom';
import type { DownloadState } from './downloads';
import { errorText, formatBytes, formatProgressBytes } from './format';
import { lastUseText, sizeText, verifiedText } from './stored_list';

export type StoredModelHooks = {
  onLoad(): void;
  onResume(): void;
  onPause(paused: boolean): void;
  onCancel(): void;
  onDelete(): void;
};

export class StoredModelView {
  readonly root = cloneTemplate('stored-model');
  readonly #resume = part(this.root, 'resume');
  readonly #delete = part(this.root, 'delete');
  readonly #error = part(this.root, 'error');
  #model: StoredModel | undefined;
  #download: DownloadState | undefined;

  /** `loadable`: this page can name it to an engine. */
  constructor(
    name: string,
    private readonly loadable: boolean,
    private readonly hooks: StoredModelHooks,
  ) {
    part(this.root, 'name').textContent = name;
    this.#label(part(this.root, 'load'), 'Load');
    onPress(part(this.root, 'load'), () => hooks.onLoad());
    onPress(this.#resume, () => this.#pressResume());
    onPress(this.#delete, () => (this.#download ? hooks.onCancel() : this.#setConfirming(true)));
    onPress(part(this.root, 'keep'), () => this.#setConfirming(false));
    onPress(part(this.root, 'confirm-delete'), () => {
      this.#setConfirming(false);
      hooks.onDelete();
    });
  }

  show(model: StoredModel, now: number): void {
    this.#model = model;
    const verified = verifiedText(model);
    part(this.root, 'size').textContent = sizeText(model);
    part(this.root, 'used').textContent = lastUseText(model, now);
    part(this.root, 'verified').textContent = verified?.text ?? '';
    part(this.root, 'verified').title = verified?.title ?? '';
    part(this.root, 'verified').hidden = !verified;
    part(this.root, 'in-use').hidden = !model.inUse;
    part(this.root, 'question').textContent =
      `Delete ${formatBytes(model.storedBytes)}? Using it again means downloading it again.`;
    this.#showActions();
  }

  showDownload(download: DownloadState | undefined): void {
    this.#download = download;
    const { progress, paused, rate } = download ?? {};
    part(this.root, 'progress').hidden = !download;
    part<HTMLProgressElement>(this.root, 'bar').value = progress?.progress ?? 0;
    part(this.root, 'progress-text').textContent = progress
      ? [formatProgressBytes(progress), paused ? 'paused' : rate!.describe(progress.total)].filter(Boolean).join(' · ')
      : 'Starting';
    this.#showActions();
  }

  /** undefined takes the message away. */
  showError(error: unknown): void {
    this.#error.textContent = error === undefined ? '' : errorText(error);
  }

  #showActions(): void {
    const { complete, inUse } = this.#model ?? { complete: true, inUse: false };
    part(this.root, 'load').hidden = !this.loadable || this.#download !== undefined;
    // Somebody else's download is theirs to pause.
    this.#resume.hidden = this.#download === undefined && (complete || inUse || !this.loadable);
    this.#label(this.#resume, this.#download ? (this.#download.paused ? 'Resume' : 'Pause') : 'Resume the download');
    this.#label(this.#delete, this.#download ? 'Cancel the download' : 'Delete');
  }

  /** A screen reader also hears which model. */
  #label(button: HTMLElement, text: string): void {
    button.textContent = text;
    button.setAttribute('aria-label', `${text}: ${part(this.root, 'name').textContent}`);
  }

  #pressResume(): void {
    this.showError(undefined);
    if (this.#download) this.hooks.onPause(!this.#download.paused);
    else this.hooks.onResume();
    this.#showActions();
  }

  #setConfirming(confirming: boolean): void {
    this.showError(undefined);
    part(this.root, 'confirm').hidden = !confirming;
    part(this.root, 'actions').hidden = confirming;
    (confirming ? part(this.root, 'keep') : this.#delete).focus();
  }
}
