/** The dialog that chooses a model: bundled, by hub id, or from local files. */
import { modelCard } from './catalogue';
import { type CatalogueHooks, CatalogueList } from './catalogue_list';
import { prepareDialog, required } from './dom';
import { checkModelFiles, localChoice, localName, type ModelChoice, parseHubId } from './model_choice';
import { isAbort } from './session';

type DirectoryPicker = (options: { id: string; mode: 'read' }) => Promise<FileSystemDirectoryHandle>;

export class PickerDialog {
  readonly #dialog = required('picker', HTMLDialogElement);
  readonly #hubId = required('hub-id', HTMLInputElement);
  readonly #hubError = required('hub-error', HTMLElement);
  readonly #token = required('hub-token', HTMLInputElement);
  readonly #localError = required('local-error', HTMLElement);

  readonly #catalogue: CatalogueList;

  constructor(
    private readonly onChoice: (choice: ModelChoice) => void,
    { onStorage, plan }: { onStorage(): void; plan: CatalogueHooks['plan'] },
  ) {
    prepareDialog(this.#dialog);
    this.#catalogue = new CatalogueList({ onLoad: (choice) => this.#choose(choice), plan });
    this.#dialog.addEventListener('close', () => this.#catalogue.stop());
    required('picker-storage', HTMLButtonElement).addEventListener('click', () => {
      this.#dialog.close();
      onStorage();
    });
    required('use-bundled', HTMLButtonElement).addEventListener('click', () => this.#choose({ kind: 'bundled' }));
    required('hub-form', HTMLFormElement).addEventListener('submit', (event) => this.#submitHub(event));
    this.#hubId.addEventListener('input', () => this.#readHubId());
    this.#setUpLocal();
  }

  open(): void {
    this.#showHubError('');
    this.#showLocalError('');
    this.#dialog.showModal();
  }

  /** Files from anywhere: the inputs of this dialog, or dropped on the page. Opens to say what is missing. */
  chooseFiles(files: readonly File[], name?: string): void {
    const checked = checkModelFiles(files);
    if ('value' in checked) {
      this.#choose(localChoice(name ?? localName(checked.value), checked.value));
    } else {
      if (!this.#dialog.open) this.open();
      this.#showLocalError(checked.message);
    }
  }

  #choose(choice: ModelChoice): void {
    this.#dialog.close();
    this.onChoice(choice);
  }

  #submitHub(event: SubmitEvent): void {
    event.preventDefault();
    const id = parseHubId(this.#hubId.value);
    if ('message' in id) {
      this.#showHubError(id.message);
      this.#hubId.focus();
      return;
    }
    const token = this.#token.value.trim();
    this.#choose({ kind: 'hub', id: id.value, ...(token ? { token } : {}) });
  }

  /** Nobody has read the licence of a model that is not in the catalogue; its card has it, if anything does. */
  #readHubId(): void {
    this.#showHubError('');
    const id = parseHubId(this.#hubId.value);
    const words = required('hub-licence', HTMLElement);
    if ('message' in id) {
      words.replaceChildren();
      return;
    }
    const card = document.createElement('a');
    card.href = modelCard(id.value);
    card.rel = 'noopener noreferrer';
    card.target = '_blank';
    card.textContent = `huggingface.co/${id.value.split('@', 1)[0]}`;
    words.replaceChildren('Licence: not stated here. Size and checks: unknown. Its card: ', card);
  }

  #setUpLocal(): void {
    const folder = required('folder-input', HTMLInputElement);
    const files = required('files-input', HTMLInputElement);
    required('choose-files', HTMLButtonElement).addEventListener('click', () => files.click());
    required('choose-folder', HTMLButtonElement).addEventListener('click', () => this.#chooseFolder(folder));
    for (const input of [folder, files]) {
      input.addEventListener('change', () => {
        const picked = [...(input.files ?? [])];
        input.value = ''; // the same files may be chosen again after a mistake
        if (picked.length > 0) this.chooseFiles(picked);
      });
    }
  }

  /** A directory handle where the browser has them: it need not list every file first. */
  #chooseFolder(fallback: HTMLInputElement): void {
    const show = (window as { showDirectoryPicker?: DirectoryPicker }).showDirectoryPicker;
    if (show) void this.#chooseHandle(show.bind(window));
    else fallback.click();
  }

  async #chooseHandle(show: DirectoryPicker): Promise<void> {
    try {
      const handle = await show({ id: 'model', mode: 'read' });
      this.#choose(localChoice(handle.name, handle));
    } catch (error) {
      if (isAbort(error)) return; // the visitor closed the system's dialog
      if (!(error instanceof DOMException)) throw error;
      this.#showLocalError('The browser did not allow this folder. Choose its files instead.');
    }
  }

  #showHubError(message: string): void {
    this.#hubError.textContent = message;
    this.#hubId.setAttribute('aria-invalid', String(message !== ''));
  }

  #showLocalError(message: string): void {
    this.#localError.textContent = message;
  }
}
