/** The settings dialog. A valid value is kept at once; an invalid one stays in its field with a word about why. */
import type { EngineConfig, EngineInfo, KvDtype } from '../src/api';
import { onPress, prepareDialog, required, setUnavailable } from './dom';
import { formatCount } from './format';
import { engineConfigOf, loadSettings, type NumberField, parseNumber, RANGES, type Settings, saveSettings } from './settings';

/** The loaded engine: what it was asked for, and what it made of it. */
export type Loaded = { config: EngineConfig; info: EngineInfo };

const FIELDS = Object.keys(RANGES) as NumberField[];

export class SettingsDialog {
  readonly #dialog = required('settings', HTMLDialogElement);
  readonly #kv = required('set-kv', HTMLSelectElement);
  readonly #reload = required('settings-reload', HTMLButtonElement);
  readonly #inUse = required('settings-in-use', HTMLElement);
  #settings = loadSettings();
  #loaded: Loaded | undefined;

  constructor(onReload: () => void) {
    prepareDialog(this.#dialog);
    for (const field of FIELDS) inputOf(field).addEventListener('input', () => this.#readField(field));
    this.#kv.addEventListener('change', () => this.#readKv());
    onPress(required('settings-reset', HTMLButtonElement), () => this.#reset());
    onPress(this.#reload, () => {
      this.#dialog.close();
      onReload();
    });
  }

  get current(): Settings {
    return this.#settings;
  }

  open(loaded: Loaded | undefined): void {
    this.#loaded = loaded;
    this.#fill();
    this.#dialog.showModal();
  }

  #readField(field: NumberField): void {
    const input = inputOf(field);
    const parsed = input.validity.badInput ? { message: 'Not a number.' } : parseNumber(field, input.value);
    showError(field, 'message' in parsed ? parsed.message : '');
    if ('value' in parsed) this.#keep({ ...this.#settings, [field]: parsed.value });
  }

  #readKv(): void {
    this.#keep({ ...this.#settings, kv: (this.#kv.value || undefined) as KvDtype | undefined });
  }

  #reset(): void {
    this.#keep({});
    this.#fill();
  }

  #keep(settings: Settings): void {
    this.#settings = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
    saveSettings(this.#settings);
    this.#showReload();
  }

  #fill(): void {
    for (const field of FIELDS) {
      inputOf(field).value = this.#settings[field]?.toString() ?? '';
      showError(field, '');
    }
    this.#kv.value = this.#settings.kv ?? '';
    this.#showReload();
  }

  #showReload(): void {
    const info = this.#loaded?.info;
    this.#inUse.textContent = info ? `In use: ${formatCount(info.contextTokens)} tokens, ${info.kv}.` : 'No model is loaded.';
    setUnavailable(this.#reload, !this.#loaded || !this.#differs(this.#loaded.config));
  }

  #differs(loaded: EngineConfig): boolean {
    const next = engineConfigOf(this.#settings);
    return next.contextTokens !== loaded.contextTokens || next.kv !== loaded.kv;
  }
}

function inputOf(field: NumberField): HTMLInputElement {
  return required(`set-${field}`, HTMLInputElement);
}

function showError(field: NumberField, message: string): void {
  required(`error-${field}`, HTMLElement).textContent = message;
  inputOf(field).setAttribute('aria-invalid', String(message !== ''));
}
