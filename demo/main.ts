/** The chat page: joins its parts. Imports nothing of Sluice but src/api, as any site would. */
import { type Engine, EngineError, type ErrorCode, type Pressure, planModel, type Timings } from '../src/api';
import { Announcer } from './announcer';
import { Chat } from './chat';
import { Composer } from './composer';
import { hide, onPress, required } from './dom';
import { EmptyState } from './empty_state';
import { setUpFileDrop } from './file_drop';
import { History } from './history';
import { MemoryDialog } from './memory_dialog';
import { type ModelChoice, modelLabel, modelRefOf } from './model_choice';
import { Notice, type NoticeAction } from './notice';
import { PickerDialog } from './picker_dialog';
import {
  describeNetworkCost,
  describePressure,
  describeProblem,
  describeRecovery,
  type Fix,
  type Problem,
  type Where,
} from './problems';
import { ScrollFollow } from './scroll_follow';
import { accessOf, ModelSession, type SessionState } from './session';
import { engineConfigOf, loadHubChoice, samplingOf, saveHubChoice } from './settings';
import { SettingsDialog } from './settings_dialog';
import { StatusLine } from './status_line';
import { StorageDialog } from './storage_dialog';
import { setUpTheme } from './theme';
import type { ReplyEnd } from './turn_view';

const HINT_READY = 'Enter sends · Shift+Enter starts a new line · Esc stops';
const HINT_LOADING = 'You can write while the model loads.';
const HINT_NO_MODEL = 'No model is loaded.';
const END_WORDS = {
  stop: 'The reply is complete',
  length: 'The reply ended at the token limit',
  stopped: 'The reply was stopped',
};

const ACTIONS: Record<NoticeAction, () => void> = {
  'cancel-load': () => session.cancel(),
  'pause-download': () => setPaused(true),
  'resume-download': () => setPaused(false),
  retry: () => (session.engine ? regenerate() : loadModel(session.state.choice)),
  'reload-model': () => loadModel(session.state.choice),
  bundled: () => loadModel({ kind: 'bundled' }),
  picker: () => picker.open(),
  settings: openSettings,
  memory: openMemory,
  storage: () => storage.open(),
  'smallest-budget': () => loadWith({ gpuBudget: fix.gpuBudget }),
  'shorter-context': () => loadWith({ contextTokens: fix.contextTokens }),
  'lower-budget': () => {
    continuing = chat.broken;
    loadWith({ gpuBudget: fix.gpuBudget });
  },
  'reload-continue': () => {
    continuing = chat.broken;
    loadModel(session.state.choice);
  },
  dismiss: () => notice.dismiss(),
  'new-chat': startNewChat,
  'reload-page': () => location.reload(),
};

/** What the buttons of the notice that is shown would change. */
let fix: Fix = {};
/** Said by the engine that runs, and not got out of yet. */
let pressure: Pressure | undefined;
/** The reply that broke off is made again as soon as the next engine is ready. */
let continuing = false;

setUpTheme();
const scroller = required('scroller', HTMLElement);
const announcer = new Announcer(required('announcer', HTMLElement));
const status = new StatusLine();
const follow = new ScrollFollow(scroller, required('jump', HTMLElement), scroller);
const settings = new SettingsDialog(() => loadModel(session.state.choice), openMemory);
const storage = new StorageDialog({ onLoad: loadModel, say: (text) => announcer.say(text) });
const picker = new PickerDialog(loadModel, () => storage.open());
const memory = new MemoryDialog({
  plan: (config, signal) => {
    const { choice } = session.state;
    return planModel(modelRefOf(choice, document.baseURI), { ...config, ...accessOf(choice), signal });
  },
  onApply: loadWith,
  onStorage: () => storage.open(),
});
const notice = new Notice(scroller, (action) => ACTIONS[action]());
const empty = new EmptyState(useSuggestion);
const composer = new Composer(send, () => chat.stop());
const session = new ModelSession(showSession, showPressure);
const history = new History();
const chat = new Chat(required('messages', HTMLElement), {
  engine: () => session.engine,
  sampling: () => samplingOf(settings.current),
  onGrow: () => follow.contentChanged(),
  onTurnAdded: showConversation,
  onBusy: showBusy,
  onLiveRate: (rate) => status.showLive(rate),
  onEnd: showEnd,
  onError: showReplyError,
  onRegenerate: regenerate,
  onChange: (kept) => history.keep(kept),
  onCopied: (copied) => announcer.say(copied ? 'Reply copied' : 'The browser did not allow copying. Select the text instead.'),
});

onPress(required('new-chat', HTMLButtonElement), startNewChat);
onPress(required('open-picker', HTMLButtonElement), () => picker.open());
onPress(required('open-settings', HTMLButtonElement), openSettings);
onPress(required('open-memory', HTMLButtonElement), openMemory);
setUpFileDrop((files, folderName) => picker.chooseFiles(files, folderName));
loadModel(loadHubChoice() ?? { kind: 'bundled' }); // a download that a closed page broke off goes on
void bringBack();

/** What an earlier page kept; a reply that it cut off goes on as soon as there is a model. */
async function bringBack(): Promise<void> {
  const kept = await history.load();
  if (!kept || !chat.empty) return;
  chat.restore(kept);
  chat.resume();
}

function loadModel(choice: ModelChoice): void {
  chat.stop();
  pressure = undefined;
  void session.load(choice, engineConfigOf(settings.current));
}

function loadWith(changes: Fix): void {
  settings.update(changes);
  loadModel(session.state.choice);
}

function setPaused(paused: boolean): void {
  if (!session.setPaused(paused)) return;
  notice.showPaused(paused);
  announcer.say(paused ? 'The download is paused' : 'The download goes on');
}

function showSession(state: SessionState): void {
  const label = modelLabel(state.choice);
  if (state.kind === 'loading' && state.progress) {
    notice.updateLoading(state.progress);
    announcer.progress(state.progress);
    return;
  }
  required('model-name', HTMLElement).textContent = label;
  empty.introduce(state.choice);
  status.showModel(label, state.kind === 'ready' ? state.engine.info : undefined);
  composer.setReady(
    state.kind === 'ready',
    { loading: HINT_LOADING, ready: HINT_READY, cancelled: HINT_NO_MODEL, failed: HINT_NO_MODEL }[state.kind],
  );
  showTransition(state, label);
}

function showTransition(state: SessionState, label: string): void {
  remember(state);
  memory.update(runningPlan());
  switch (state.kind) {
    case 'loading':
      notice.showLoading(label);
      announcer.startProgress(`Loading ${label}`);
      break;
    case 'cancelled':
      notice.showCancelled(label);
      announcer.say('Loading was cancelled');
      break;
    case 'failed':
      showProblem(state.error, 'load');
      break;
    case 'ready':
      showReady(state.engine, label);
  }
}

function showReady(engine: Engine, label: string): void {
  const cost = describeNetworkCost(engine.plan);
  if (cost) notice.showCaution(cost);
  else notice.dismiss();
  announcer.say([`${label} is ready`, cost?.text].filter(Boolean).join('. '));
  watchDevice(engine);
  if (continuing) regenerate();
  else chat.resume();
  continuing = false;
}

/** A hub model comes back when the page does, unless loading it failed for a reason that would come back, too. */
function remember(state: SessionState): void {
  const keep = state.kind !== 'cancelled' && (state.kind !== 'failed' || isError(state.error, 'storage'));
  saveHubChoice(keep ? state.choice : undefined);
}

function watchDevice(engine: Engine): void {
  void engine.lost.then(({ message }) => {
    session.fail(engine, new EngineError('device-lost', message));
  });
}

function showProblem(error: unknown, where: Where): void {
  show(pressure ? describePressure(pressure) : problemOf(error, where));
}

function showPressure(now: Pressure): void {
  if (now.recovery && now.recovery !== 'stopped') {
    showRecovery(now);
    return;
  }
  pressure = now;
  show(describePressure(now));
}

function showRecovery(now: Pressure): void {
  const words = describeRecovery(now);
  if (words) notice.showCaution(words);
  else if (now.recovery === 'done') notice.dismiss();
  announcer.say(words ? `${words.title}. ${words.text}` : now.message);
  if (now.recovery === 'done') void refreshMemory();
}

function show(problem: Problem): void {
  fix = problem.fix ?? {};
  notice.showProblem(problem);
  announcer.say(`${problem.title}. ${problem.text}`);
}

function problemOf(error: unknown, where: Where): Problem {
  const bundled = session.state.choice.kind === 'bundled';
  return describeProblem(error, where, {
    secureContext: isSecureContext,
    webGpu: 'gpu' in navigator,
    online: navigator.onLine,
    bundled,
  });
}

function showReplyError(error: unknown, engine: Engine): void {
  if (isError(error, 'device-lost')) session.fail(engine, error);
  else showProblem(error, 'reply');
}

function send(text: string): boolean {
  const sent = chat.send(text);
  if (!sent) announcer.say(chat.busy ? 'A reply is running. Escape stops it.' : 'The model is not ready yet.');
  return sent;
}

/** Before the model is ready a suggestion waits in the message box. */
function useSuggestion(text: string): void {
  if (!send(text)) composer.fill(text);
}

function showConversation(): void {
  hide(empty.root, scroller);
  follow.toEnd();
}

function startNewChat(): void {
  chat.clear();
  empty.root.hidden = false;
  if (session.engine) notice.dismiss();
  status.clearRates();
  follow.reset();
  announcer.say('New chat');
}

function openSettings(): void {
  const { state } = session;
  settings.open(state.kind === 'ready' ? { config: state.config, info: state.engine.info } : undefined);
}

function openMemory(): void {
  memory.open({ settings: settings.current, running: runningPlan() });
}

function runningPlan() {
  const { state } = session;
  return state.kind === 'ready' ? { config: state.config, plan: state.engine.plan } : undefined;
}

function showBusy(busy: boolean): void {
  composer.setBusy(busy);
  if (!busy) return;
  pressure = undefined;
  notice.dismiss();
  announcer.say('The reply has started');
}

function showEnd(end: ReplyEnd, timings: Timings | undefined): void {
  if (timings) status.showTimings(timings);
  if (end !== 'failed' && end !== 'cut-off') announcer.say(END_WORDS[end]);
  void refreshMemory();
}

async function refreshMemory(): Promise<void> {
  const { state } = session;
  if (state.kind !== 'ready') return;
  try {
    status.showModel(modelLabel(state.choice), await state.engine.refreshInfo());
  } catch (error) {
    if (!(error instanceof EngineError)) throw error; // unloaded or lost meanwhile: the session says so itself
  }
}

function regenerate(): void {
  if (!chat.regenerate()) announcer.say('The model is not ready yet.');
}

function isError(error: unknown, code: ErrorCode): boolean {
  return error instanceof EngineError && error.code === code;
}
