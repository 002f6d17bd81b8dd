/** The memory panel: the plan that runs, the plan that would, and the budget and context that make the difference. */
import type { EngineConfig, EngineInfo, PlanReport } from '../src/api';
import { type BudgetScale, budgetAt, budgetScale, budgetText, parseBudget, SLIDER_STEPS, stepOf } from './budget_scale';
import { onPress, prepareDialog, required, setUnavailable } from './dom';
import { ExpertPicture } from './expert_picture';
import { errorText, formatBytes } from './format';
import { PlanPicture } from './plan_picture';
import { lacksDisk, outcomeText } from './plan_view';
import { type PlanState, Replanner } from './replanner';
import { differs, engineConfigOf, parseNumber, type Settings } from './settings';

/** What the panel changes; unset is the engine's choice. */
export type MemoryDraft = Pick<Settings, 'gpuBudget' | 'contextTokens'>;

/** What it is opened with: whatever else a load would be given, and what runs now, if anything does. */
export type MemoryContext = { settings: Settings; running: { config: EngineConfig; plan: PlanReport } | undefined };

export type MemoryHooks = {
  plan(config: EngineConfig, signal: AbortSignal): Promise<PlanReport>;
  /** Of the engine that runs; undefined where none does, or all its experts fit. Never rejects. */
  experts(): Promise<EngineInfo['experts']>;
  onApply(draft: MemoryDraft): void;
  onStorage(): void;
};

/** More than any model needs: the plan for it holds everything, which is the slider's far end. */
const EVERYTHING = 2 ** 50;

export class MemoryDialog {
  readonly #dialog = required('memory', HTMLDialogElement);
  readonly #slider = required('budget-slider', HTMLInputElement);
  readonly #text = required('budget-text', HTMLInputElement);
  readonly #tokens = required('budget-context', HTMLInputElement);
  readonly #apply = required('memory-apply', HTMLButtonElement);
  readonly #badge = required('plan-badge', HTMLElement);
  readonly #message = required('plan-message', HTMLElement);
  readonly #state = required('plan-state', HTMLElement);
  readonly #picture = new PlanPicture();
  readonly #experts = new ExpertPicture();
  readonly #planner: Replanner<EngineConfig>;
  readonly #ends: Replanner<EngineConfig>;
  #context: MemoryContext = { settings: {}, running: undefined };
  #draft: MemoryDraft = {};
  #scale: BudgetScale | undefined;
  /** The draft can be loaded: its fields are right, and its plan was not refused. */
  #sound = false;

  constructor(private readonly hooks: MemoryHooks) {
    prepareDialog(this.#dialog);
    this.#planner = new Replanner(hooks.plan, (state) => this.#showPlanning(state));
    this.#ends = new Replanner(hooks.plan, (state) => this.#showEnds(state));
    this.#slider.max = String(SLIDER_STEPS);
    this.#slider.addEventListener('input', () => this.#readSlider());
    this.#text.addEventListener('input', () => this.#readText());
    this.#tokens.addEventListener('input', () => this.#readTokens());
    onPress(this.#apply, () => this.#press());
    onPress(required('memory-storage', HTMLButtonElement), () => {
      this.#dialog.close();
      hooks.onStorage();
    });
    this.#dialog.addEventListener('close', () => {
      if (this.#dialog.open) return; // the event comes late: the panel may have been opened again
      this.#planner.cancel();
      this.#ends.cancel();
      this.#experts.stop();
    });
  }

  open(context: MemoryContext): void {
    this.#context = context;
    const { gpuBudget, contextTokens } = context.settings;
    this.#draft = { gpuBudget, contextTokens };
    this.#text.value = gpuBudget === undefined ? '' : budgetText(gpuBudget);
    this.#tokens.value = contextTokens?.toString() ?? '';
    this.#showErrors('', '');
    this.#setScale(undefined);
    this.#picture.clear();
    this.#dialog.showModal();
    this.#experts.start(() => this.hooks.experts());
    this.#planEnds(0);
    this.#planDraft(0);
  }

  /** An engine came or went while the panel is open: what is being changed stays. */
  update(running: MemoryContext['running']): void {
    this.#context = { ...this.#context, running };
    if (this.#dialog.open) this.#planDraft(0);
  }

  #config(gpuBudget: number | undefined): EngineConfig {
    const { contextTokens } = this.#draft;
    return engineConfigOf({ ...this.#context.settings, gpuBudget, contextTokens });
  }

  #planEnds(delayMs?: number): void {
    this.#ends.plan(this.#config(EVERYTHING), delayMs);
  }

  #planDraft(delayMs?: number): void {
    const { running } = this.#context;
    if (running && !this.#differs()) {
      this.#planner.cancel();
      this.#showPlan(running.plan, 'running');
    } else {
      this.#planner.plan(this.#config(this.#draft.gpuBudget), delayMs);
    }
  }

  #readSlider(): void {
    if (!this.#scale) return;
    const bytes = budgetAt(this.#scale, Number(this.#slider.value));
    this.#text.value = budgetText(bytes);
    this.#readText();
  }

  #readText(): void {
    const parsed = parseBudget(this.#text.value);
    this.#showErrors('message' in parsed ? parsed.message : '', undefined);
    if ('message' in parsed) {
      this.#refuse();
    } else {
      this.#draft = { ...this.#draft, gpuBudget: parsed.value };
      this.#placeSlider(parsed.value);
      this.#planDraft();
    }
  }

  #readTokens(): void {
    const parsed = this.#tokens.validity.badInput
      ? { message: 'Not a number.' }
      : parseNumber('contextTokens', this.#tokens.value);
    this.#showErrors(undefined, 'message' in parsed ? parsed.message : '');
    if ('message' in parsed) {
      this.#refuse();
    } else {
      this.#draft = { ...this.#draft, contextTokens: parsed.value };
      this.#planEnds();
      this.#planDraft();
    }
  }

  /** A field cannot be read: nothing to plan, nothing to apply. */
  #refuse(): void {
    this.#planner.cancel();
    this.#setSound(false);
  }

  #differs(): boolean {
    const { running } = this.#context;
    return !running || differs(this.#config(this.#draft.gpuBudget), running.config);
  }

  #showEnds(state: PlanState<EngineConfig>): void {
    if (state.kind === 'planned') {
      this.#setScale(budgetScale({ smallest: state.plan.smallestBudgetBytes, fits: state.plan.gpu.total }));
    } else if (state.kind === 'refused') {
      this.#setScale(undefined);
      required('budget-least', HTMLElement).textContent = `The range is not known. ${errorText(state.error)}`;
    }
  }

  #showPlanning(state: PlanState<EngineConfig>): void {
    if (state.kind === 'planned') {
      this.#showPlan(state.plan, 'planned');
      return;
    }
    this.#setSound(false);
    this.#picture.setStale(true);
    this.#setBadge(state.kind);
    if (state.kind === 'planning') this.#say('Planning…');
    else this.#say('This does not work.', errorText(state.error));
  }

  #showPlan(plan: PlanReport, kind: 'running' | 'planned'): void {
    this.#picture.show(plan);
    this.#setBadge(kind);
    this.#setSound(true);
    if (this.#draft.gpuBudget === undefined) this.#placeSlider(plan.gpuBudgetBytes ?? plan.gpu.total);
    const words = kind === 'running' ? 'This is what runs' : 'Planned, not in use yet';
    this.#say(`${words}: ${outcomeText(plan)}`, diskWarning(plan));
  }

  #press(): void {
    const draft = this.#draft;
    this.#dialog.close();
    this.hooks.onApply(draft);
  }

  #setScale(scale: BudgetScale | undefined): void {
    this.#scale = scale;
    this.#slider.disabled = !scale;
    required('budget-least', HTMLElement).textContent = scale ? `${formatBytes(scale.least)}, the smallest` : '';
    required('budget-most', HTMLElement).textContent = scale ? `${formatBytes(scale.most)} holds everything` : '';
    if (scale) this.#placeSlider(this.#draft.gpuBudget ?? this.#context.running?.plan.gpuBudgetBytes);
  }

  #placeSlider(bytes: number | undefined): void {
    if (!this.#scale) return;
    const shown = bytes ?? this.#scale.most;
    this.#slider.value = String(stepOf(this.#scale, shown));
    this.#slider.setAttribute('aria-valuetext', formatBytes(shown));
  }

  #setBadge(kind: 'running' | 'planned' | 'planning' | 'refused'): void {
    this.#badge.dataset.kind = kind;
    this.#badge.textContent = { running: 'running', planned: 'planned', planning: 'planning…', refused: 'not possible' }[kind];
  }

  #setSound(sound: boolean): void {
    this.#sound = sound;
    setUnavailable(this.#apply, !this.#sound || !this.#differs());
    this.#apply.textContent = this.#context.running ? 'Apply and reload' : 'Load with this';
  }

  #say(state: string, message = ''): void {
    this.#state.textContent = state;
    this.#message.textContent = message;
    this.#message.dataset.kind = this.#sound ? 'note' : 'refused';
  }

  /** undefined leaves a field's message as it is. */
  #showErrors(budget: string | undefined, tokens: string | undefined): void {
    if (budget !== undefined) showError(this.#text, 'budget-error', budget);
    if (tokens !== undefined) showError(this.#tokens, 'budget-context-error', tokens);
  }
}

function diskWarning(plan: PlanReport): string {
  return lacksDisk(plan)
    ? 'The browser grants less disk than this model needs. Delete a stored model, or ask it to keep data.'
    : '';
}

function showError(input: HTMLInputElement, id: string, message: string): void {
  required(id, HTMLElement).textContent = message;
  input.setAttribute('aria-invalid', String(message !== ''));
}
