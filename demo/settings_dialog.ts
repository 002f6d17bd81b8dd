/** The settings dialog. A valid value is kept at once; an invalid one stays in its field with a word about why. */
import type { ContextOverflow, EngineConfig, EngineInfo, KvDtype } from '../src/api';
import { onPress, prepareDialog, required, setUnavailable } from './dom';
import { formatBytes, formatCount } from './format';
import { changesFor, type Preset, presetOf } from './presets';
import {
  differs,
  engineConfigOf,
  loadSettings,
  MOST_SYSTEM,
  type NumberField,
  parseNumber,
  RANGES,
  type Settings,
  saveSettings,
} from './settings';

/** The loaded engine: what it was asked for, and what it made of it. */
export type Loaded = { config: EngineConfig; info: EngineInfo };

const PRESET_NOTES = { known: 'As the model’s card recommends.', unknown: 'No card of this model is known here.' };

const FIELDS = Object.keys(RANGES) as NumberField[];

export class SettingsDialog {
  readonly #dialog = required('settings', HTMLDialogElement);
  readonly #kv = required('set-kv', HTMLSelectElement);
  readonly #overflow = required('set-overflow', HTMLSelectElement);
  readonly #thinking = required('set-thinking', HTMLSelectElement);
  readonly #system = required('set-system', HTMLTextAreaElement);
  readonly #preset = required('set-preset', HTMLSelectElement);
  #presets: readonly Preset[] = [];
  readonly #reload = required('settings-reload', HTMLButtonElement);
  readonly #inUse = required('settings-in-use', HTMLElement);
  #settings = loadSettings();
  #loaded: Loaded | undefined;

  constructor(onReload: () => void, onMemory: () => void) {
    prepareDialog(this.#dialog);
    for (const field of FIELDS) inputOf(field).addEventListener('input', () => this.#readField(field));
    this.#kv.addEventListener('change', () => this.#readKv());
    this.#overflow.addEventListener('change', () => this.#readOverflow());
    this.#thinking.addEventListener('change', () => this.#readThinking());
    this.#system.maxLength = MOST_SYSTEM;
    this.#system.addEventListener('input', () =>
      this.#keep({ ...this.#settings, system: this.#system.value.trim() || undefined }),
    );
    this.#preset.addEventListener('change', () => this.#choosePreset());
    onPress(required('settings-memory', HTMLButtonElement), () => {
      this.#dialog.close();
      onMemory();
    });
    onPress(required('settings-reset', HTMLButtonElement), () => this.#reset());
    onPress(this.#reload, () => {
      this.#dialog.close();
      onReload();
    });
  }

  get current(): Settings {
    return this.#settings;
  }

  /** From elsewhere on the page: the memory panel, or a button that gets out of a problem. */
  update(changes: Partial<Settings>): void {
    this.#keep({ ...this.#settings, ...changes });
  }

  open(loaded: Loaded | undefined, presets: readonly Preset[]): void {
    this.#loaded = loaded;
    this.#offer(presets);
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

  #readOverflow(): void {
    this.#keep({ ...this.#settings, contextOverflow: (this.#overflow.value || undefined) as ContextOverflow | undefined });
  }

  #readThinking(): void {
    this.#keep({ ...this.#settings, thinking: this.#thinking.value === 'on' ? true : undefined });
  }

  #offer(presets: readonly Preset[]): void {
    this.#presets = presets;
    const names = [{ id: 'default', name: 'Model default' }, ...presets, { id: 'own', name: 'Own values' }];
    this.#preset.replaceChildren(...names.map(({ id, name }) => new Option(name, id)));
    required('note-preset', HTMLElement).textContent = presets.length > 0 ? PRESET_NOTES.known : PRESET_NOTES.unknown;
  }

  #choosePreset(): void {
    if (this.#preset.value === 'own') return;
    this.#keep({ ...this.#settings, ...changesFor(this.#presets.find(({ id }) => id === this.#preset.value)) });
    this.#fill();
  }

  #reset(): void {
    this.#keep({});
    this.#fill();
  }

  #keep(settings: Settings): void {
    this.#settings = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
    saveSettings(this.#settings);
    this.#preset.value = presetOf(this.#settings, this.#presets);
    this.#showReload();
  }

  #fill(): void {
    for (const field of FIELDS) {
      inputOf(field).value = this.#settings[field]?.toString() ?? '';
      showError(field, '');
    }
    this.#kv.value = this.#settings.kv ?? '';
    this.#overflow.value = this.#settings.contextOverflow ?? '';
    this.#thinking.value = this.#settings.thinking ? 'on' : '';
    this.#system.value = this.#settings.system ?? '';
    this.#preset.value = presetOf(this.#settings, this.#presets);
    this.#showReload();
  }

  #showReload(): void {
    const info = this.#loaded?.info;
    this.#inUse.textContent = info ? describeUse(info) : 'No model is loaded.';
    setUnavailable(this.#reload, !this.#loaded || !differs(engineConfigOf(this.#settings), this.#loaded.config));
  }
}

function describeUse({ contextTokens, kv, plan }: EngineInfo): string {
  const budget = plan.gpuBudgetBytes === undefined ? 'no GPU budget' : `a GPU budget of ${formatBytes(plan.gpuBudgetBytes)}`;
  return `In use: ${formatCount(contextTokens)} tokens, ${kv}, ${budget}.`;
}

function inputOf(field: NumberField): HTMLInputElement {
  return required(`set-${field}`, HTMLInputElement);
}

function showError(field: NumberField, message: string): void {
  required(`error-${field}`, HTMLElement).textContent = message;
  inputOf(field).setAttribute('aria-invalid', String(message !== ''));
}
