/** One conversation in the list. Built from the template of index.html. */

import { MOST_NAME } from './attachments';
import type { Summary } from './conversation_store';
import { cloneTemplate, onPress, part } from './dom';
import { isolated } from './format';
import { isSendKey } from './send_key';
import { lastUseText } from './stored_list';

export type ItemHooks = {
  onOpen(): void;
  onRename(title: string): void;
  onExport(): void;
  onDelete(): void;
};

export class ConversationItem {
  readonly root = cloneTemplate('chat-item');
  readonly #name = part<HTMLInputElement>(this.root, 'name');
  #title = '';

  constructor(hooks: ItemHooks) {
    this.#name.maxLength = MOST_NAME;
    onPress(part(this.root, 'open'), hooks.onOpen);
    onPress(part(this.root, 'rename'), () => this.#show('renaming', this.#name));
    onPress(part(this.root, 'export'), hooks.onExport);
    onPress(part(this.root, 'delete'), () => this.#show('confirm', part(this.root, 'keep')));
    onPress(part(this.root, 'keep'), () => this.#show('entry', part(this.root, 'delete')));
    onPress(part(this.root, 'confirm-delete'), hooks.onDelete);
    const rename = () => {
      const title = this.#name.value.trim().slice(0, MOST_NAME);
      this.#show('entry', part(this.root, 'rename'));
      if (title !== '' && title !== this.#title) hooks.onRename(title);
    };
    onPress(part(this.root, 'save-name'), rename);
    this.#name.addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && !event.isComposing) {
        event.preventDefault(); // a dialog around it stays open
        event.stopPropagation();
        this.#show('entry', part(this.root, 'rename'));
      }
      if (!isSendKey(event)) return;
      event.preventDefault();
      rename();
    });
  }

  show({ title, updatedAt }: Summary, isOpen: boolean, now: number): void {
    this.#title = title;
    part(this.root, 'title').textContent = title;
    part(this.root, 'when').textContent = lastUseText({ lastUsedAt: updatedAt }, now).replace(/^used /, '');
    part(this.root, 'question').textContent = `Delete “${isolated(title)}”? It cannot be brought back.`;
    const open = part(this.root, 'open');
    if (isOpen) open.setAttribute('aria-current', 'true');
    else open.removeAttribute('aria-current');
    for (const [name, action] of [
      ['rename', 'Rename'],
      ['export', 'Export'],
      ['delete', 'Delete'],
    ] as const)
      part(this.root, name).setAttribute('aria-label', `${action}: ${title}`);
  }

  #show(wanted: 'entry' | 'renaming' | 'confirm', focus: HTMLElement): void {
    for (const name of ['entry', 'renaming', 'confirm']) part(this.root, name).hidden = name !== wanted;
    if (wanted === 'renaming') this.#name.value = this.#title;
    focus.focus();
    if (wanted === 'renaming') this.#name.select();
  }
}
