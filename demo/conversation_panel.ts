/**
 * The list of conversations with its search, and what is done with all of them. One panel: in the rail where the window has room for it,
 * else in a dialog.
 */
import { ConversationItem } from './conversation_item';
import { type Summary, search } from './conversation_store';
import { hide, onPress, prepareDialog, required } from './dom';

export type PanelHooks = {
  list(): Promise<Summary[]>;
  openId(): string | undefined;
  onOpen(id: string): void;
  onRename(id: string, title: string): void;
  onExport(id: string | undefined): void;
  onDelete(id: string): void;
  onImport(file: File): void;
  onEraseAll(): void;
  onTemporary(): void;
};

const ROOM = '(min-width: 1200px) and (min-height: 700px)';
/** Rows that are drawn; a search finds the others. */
const MOST_ROWS = 200;

export class ConversationPanel {
  readonly #dialog = required('chats', HTMLDialogElement);
  readonly #panel = required('chats-panel', HTMLElement);
  readonly #list = required('chats-list', HTMLElement);
  readonly #search = required('chats-search', HTMLInputElement);
  readonly #count = required('chats-count', HTMLElement);
  readonly #error = required('chats-error', HTMLElement);
  readonly #temporary = required('temporary', HTMLButtonElement);
  readonly #items = new Map<string, ConversationItem>();
  readonly #room = matchMedia(ROOM);
  #summaries: Summary[] = [];
  #refreshing: Promise<void> | undefined;
  #again = false;

  constructor(private readonly hooks: PanelHooks) {
    prepareDialog(this.#dialog);
    this.#room.addEventListener('change', () => this.#place());
    this.#place();
    this.#search.addEventListener('input', () => this.#show());
    onPress(required('open-chats', HTMLButtonElement), () => this.#open());
    onPress(this.#temporary, () => {
      this.close();
      hooks.onTemporary();
    });
    this.#setUpFiles();
    this.#setUpErase();
    document.addEventListener('visibilitychange', () => {
      if (!document.hidden) this.refresh(); // another tab may have changed them
    });
  }

  close(): void {
    if (this.#dialog.open) this.#dialog.close();
  }

  showTemporary(temporary: boolean): void {
    this.#temporary.setAttribute('aria-pressed', String(temporary));
  }

  showError(text: string): void {
    this.#error.textContent = text;
  }

  /** Reads the list anew; calls in the meantime become one. */
  refresh(): void {
    this.#again = true;
    this.#refreshing ??= this.#refresh();
  }

  async #refresh(): Promise<void> {
    while (this.#again) {
      this.#again = false;
      this.#summaries = await this.hooks.list();
      this.#show();
    }
    this.#refreshing = undefined;
  }

  #open(): void {
    this.showError('');
    this.refresh();
    this.#dialog.showModal();
  }

  #place(): void {
    if (this.#room.matches) {
      this.close();
      required('rail', HTMLElement).append(this.#panel);
    } else required('chats-slot', HTMLElement).append(this.#panel);
  }

  /** Rows stay the same elements while their conversation does, so that the focus in one survives. */
  #show(): void {
    const found = search(this.#summaries, this.#search.value);
    const rows = found.slice(0, MOST_ROWS).map((summary) => this.#itemOf(summary));
    const wanted = new Set(found.map(({ id }) => id));
    for (const [id, { root }] of this.#items) {
      if (wanted.has(id)) continue;
      hide(root, this.#search);
      this.#items.delete(id);
    }
    if (rows.length !== this.#list.childElementCount || rows.some((row, i) => row !== this.#list.children[i]))
      placeRows(this.#list, rows);
    this.#count.textContent = countText(this.#summaries.length, found.length);
  }

  #itemOf(summary: Summary): HTMLElement {
    const { id } = summary;
    const item =
      this.#items.get(id) ??
      new ConversationItem({
        onOpen: () => {
          this.showError('');
          this.hooks.onOpen(id);
        },
        onRename: (title) => this.hooks.onRename(id, title),
        onExport: () => this.hooks.onExport(id),
        onDelete: () => this.hooks.onDelete(id),
      });
    this.#items.set(id, item);
    item.show(summary, id === this.hooks.openId(), Date.now());
    return item.root;
  }

  #setUpFiles(): void {
    const input = required('import-input', HTMLInputElement);
    onPress(required('import-chats', HTMLButtonElement), () => input.click());
    onPress(required('export-chats', HTMLButtonElement), () => this.hooks.onExport(undefined));
    input.addEventListener('change', () => {
      const [file] = input.files ?? [];
      this.showError('');
      if (file) this.hooks.onImport(file);
      input.value = ''; // the same file may be chosen again
    });
  }

  #setUpErase(): void {
    const ask = required('erase', HTMLButtonElement);
    const confirm = required('erase-confirm', HTMLElement);
    const keep = required('erase-keep', HTMLButtonElement);
    const show = (asking: boolean) => {
      confirm.hidden = !asking;
      (asking ? keep : ask).focus();
    };
    onPress(ask, () => show(confirm.hidden));
    onPress(keep, () => show(false));
    onPress(required('erase-now', HTMLButtonElement), () => {
      show(false);
      this.close();
      this.hooks.onEraseAll();
    });
  }
}

/** Moves only what must move: a row that leaves the page for a moment loses the focus in it. */
function placeRows(list: HTMLElement, rows: readonly HTMLElement[]): void {
  for (const child of [...list.children]) if (!rows.includes(child as HTMLElement)) child.remove();
  rows.forEach((row, i) => {
    if (list.children[i] !== row) list.insertBefore(row, list.children[i] ?? null);
  });
}

function countText(all: number, found: number): string {
  if (all === 0) return 'Conversations are listed here.';
  return found === 0 ? 'Nothing is found.' : '';
}
