/** The chat page: joins its parts. Imports nothing of Sluice but src/api, as any site would. */
import { type Engine, EngineError, type EngineInfo, type ErrorCode, type Pressure, planModel, type Timings } from '../src/api';
import { Announcer } from './announcer';
import type { Attachment } from './attachments';
import { Chat } from './chat';
import { Composer } from './composer';
import type { ReplyEnd } from './conversation';
import { Conversations } from './conversations';
import { copyText, flash, hide, onPress, required } from './dom';
import { EmptyState } from './empty_state';
import { eraseEverything } from './erase';
import { setUpFileDrop } from './file_drop';
import { errorText } from './format';
import { MemoryDialog } from './memory_dialog';
import { type ModelChoice, modelLabel, modelRefOf } from './model_choice';
import { Notice, type NoticeAction } from './notice';
import { Offline } from './offline/offline';
import { PickerDialog } from './picker_dialog';
import { presetsFor } from './presets';
import {
  describeNetworkCost,
  describePressure,
  describeProblem,
  describeRecovery,
  type Fix,
  type Problem,
  type Where,
} from './problems';
import { RateGraph } from './rate_graph';
import { loadMarkdown } from './reply_text';
import { ScrollFollow } from './scroll_follow';
import { accessOf, ModelSession, type SessionState } from './session';
import { engineConfigOf, loadHubChoice, samplingOf, saveHubChoice } from './settings';
import { SettingsDialog } from './settings_dialog';
import { StatusLine } from './status_line';
import { StorageDialog } from './storage_dialog';
import { setUpTheme } from './theme';

const HINT_READY = 'Enter sends · Shift+Enter starts a new line · Esc stops';
const HINT_TEMPORARY = 'Temporary chat: nothing is stored';
const HINT_LOADING = 'You can send while the model loads.';
const HINT_WAITING = 'Esc takes the message back';
const HINT_NO_MODEL = 'No model is loaded.';
const ERASED = 'This page keeps nothing in this browser any more. Close it, or start over: the story model is then stored again.';
const UPDATE: Problem = {
  title: 'A new version of this page is ready',
  text: 'It takes a moment. Conversations and models stay.',
  actions: ['update-page', 'dismiss-update'],
};
const OTHER_TABS = 'Other tabs still show the old version. Close them, then update.';
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
  'dismiss-update': () => {
    updateReady = false; // it comes with the next visit
    notice.dismiss();
  },
  'new-chat': startNewChat,
  'reload-page': () => location.reload(),
  'update-page': () => void updatePage(),
};

/** What the buttons of the notice that is shown would change. */
let fix: Fix = {};
/** Said by the engine that runs, and not got out of yet. */
let pressure: Pressure | undefined;
/** The reply that broke off is made again as soon as the next engine is ready. */
let continuing = false;
/** The conversation on the page is not kept. */
let temporary = false;
/** A newer build of this page waits, and is not refused. */
let updateReady = false;

setUpTheme();
const scroller = required('scroller', HTMLElement);
const announcer = new Announcer(required('announcer', HTMLElement));
const status = new StatusLine();
const follow = new ScrollFollow(scroller, required('jump', HTMLElement), scroller);
const settings = new SettingsDialog(() => loadModel(session.state.choice), openMemory);
const storage = new StorageDialog({ onLoad: loadModel, say: (text) => announcer.say(text) });
const picker = new PickerDialog(loadModel, {
  onStorage: () => storage.open(),
  plan: (choice, signal) => planModel(modelRefOf(choice, document.baseURI), { ...engineConfigOf(settings.current), signal }),
});
const memory = new MemoryDialog({
  plan: (config, signal) => {
    const { choice } = session.state;
    return planModel(modelRefOf(choice, document.baseURI), { ...config, ...accessOf(choice), signal });
  },
  experts: async () => (await currentInfo())?.experts,
  onApply: loadWith,
  onStorage: () => storage.open(),
});
const notice = new Notice(scroller, (action) => ACTIONS[action]());
const empty = new EmptyState(useSuggestion);
const composer = new Composer({ onSend: send, onStop: () => chat.stop(), say: (text) => announcer.say(text) });
const session = new ModelSession(showSession, showPressure);
const offline = new Offline({
  onUpdate: () => {
    updateReady = true;
    offerUpdate();
  },
});
const graph = new RateGraph();
const conversations: Conversations = new Conversations({
  chat: () => chat,
  onSwitch: showSwitch,
  say: (text) => announcer.say(text),
  onEraseAll: () => void eraseAll(),
});
const chat: Chat = new Chat(required('messages', HTMLElement), {
  engine: () => session.engine,
  expectsEngine: () => session.state.kind === 'loading',
  prepare: (engine, id) => conversations.states.prepare(engine, id),
  sampling: () => samplingOf(settings.current),
  system: () => settings.current.system ?? '',
  onGrow: () => follow.contentChanged(),
  onTurnAdded: showConversation,
  onBusy: showBusy,
  onWaiting: showWaiting,
  onTakenBack: takeBack,
  onLiveRate: showLiveRate,
  onEnd: showEnd,
  onError: showReplyError,
  onChange: (conversation) => conversations.changed(conversation),
  onWords: (id, index, turn) => {
    graph.token();
    conversations.words(id, index, turn);
  },
  onCopied: (copied) => announcer.say(copied ? 'Reply copied' : 'The browser did not allow copying. Select the text instead.'),
  say: (text) => announcer.say(text),
});

onPress(required('new-chat', HTMLButtonElement), startNewChat);
onPress(required('open-picker', HTMLButtonElement), () => picker.open());
onPress(required('open-settings', HTMLButtonElement), openSettings);
onPress(required('open-memory', HTMLButtonElement), openMemory);
setUpFileDrop(
  (files, folderName) => picker.chooseFiles(files, folderName),
  (files) => composer.attach(files),
);
required('messages', HTMLElement).addEventListener('click', (event) => void copyCode(event));
loadModel(loadHubChoice() ?? { kind: 'bundled' }); // a download that a closed page broke off goes on
performance.mark('sluice.composer'); // one can write and send from here on; what comes later is not waited for
void conversations.bringBack(); // a reply that a closed page cut off goes on as soon as there is a model

function loadModel(choice: ModelChoice): void {
  chat.interrupt();
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
  empty.introduce(state.choice, temporary);
  status.showModel(label, state.kind === 'ready' ? state.engine.info : undefined);
  graph.showModel(state.kind === 'ready' ? state.engine.plan : undefined);
  showReadiness();
  showTransition(state, label);
}

function showReadiness(): void {
  const { kind } = session.state;
  const ready = temporary ? HINT_TEMPORARY : HINT_READY;
  const loading = chat.waiting ? HINT_WAITING : HINT_LOADING;
  const hints = { loading, ready, cancelled: HINT_NO_MODEL, failed: HINT_NO_MODEL };
  composer.setReady({ ready: kind === 'ready', open: kind === 'ready' || kind === 'loading' }, hints[kind]);
}

function showTransition(state: SessionState, label: string): void {
  remember(state);
  memory.update(runningPlan());
  if (state.kind !== 'loading') whenIdle(() => offline.start()); // what it fetches must not be in the way of a model
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
  const returned = cost !== undefined && chat.takeBack(); // it was sent before anybody could know what an answer costs
  announcer.say([`${label} is ready`, cost?.text, returned && 'The message is in the box again'].filter(Boolean).join('. '));
  watchDevice(engine);
  performance.mark('sluice.ready'); // replies begin from here on
  whenIdle(loadMarkdown); // in time for the first reply, and after everything that a first message needs
  if (continuing) regenerate();
  else chat.resume();
  continuing = false;
  if (!cost) offerUpdate();
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
  const words = describeRecovery(now, { replying: chat.busy, leastBytes: session.engine?.plan.smallestBudgetBytes });
  const loading = session.state.kind === 'loading'; // what its card shows goes on
  if (words && !(loading && now.gpuBudgetBytes === undefined)) notice.showCaution(words);
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

function send(text: string, files: readonly Attachment[] = []): boolean {
  const sent = chat.send(text, files);
  if (!sent) announcer.say(chat.refusal);
  else if (chat.waiting) announcer.say('The message is sent. The reply begins when the model is ready.');
  return sent;
}

/** Where no model is loaded, nor loads, a suggestion waits in the message box. */
function useSuggestion(text: string): void {
  if (!send(text)) composer.fill(text);
}

function showConversation(): void {
  hide(empty.root, scroller);
  follow.toEnd();
}

function startNewChat(): void {
  conversations.startNew();
}

/** Another conversation is on the page, or an empty one. */
function showSwitch(isTemporary: boolean): void {
  temporary = isTemporary;
  showReadiness();
  empty.introduce(session.state.choice, temporary);
  if (session.engine) notice.dismiss();
  status.clearRates();
  graph.showRate(0);
  if (chat.empty) {
    empty.root.hidden = false;
    follow.reset();
    announcer.say(temporary ? 'Temporary chat. Nothing is stored.' : 'New chat');
  } else {
    announcer.say(`${chat.conversation.title} is open`);
    chat.resume();
  }
}

async function copyCode(event: Event): Promise<void> {
  const button = event.target instanceof Element ? event.target.closest<HTMLElement>('[data-copy-code]') : null;
  const code = button?.closest('.code-block')?.querySelector('code')?.textContent;
  if (!button || code === undefined || code === null) return;
  const copied = await copyText(code);
  announcer.say(copied ? 'Code copied' : 'The browser did not allow copying. Select the text instead.');
  if (copied) flash(button);
}

/** Nothing is written after it, so the page stays as it is until it is loaded again, or a model is. */
async function eraseAll(): Promise<void> {
  chat.interrupt();
  await Promise.all([conversations.close(), offline.close()]);
  await session.end();
  conversations.startNew();
  try {
    await eraseEverything();
    show({ title: 'Everything is deleted', text: ERASED, actions: ['reload-page'] });
  } catch (error) {
    show({
      title: 'Not everything is deleted',
      text: errorText(error),
      actions: ['reload-page'],
    });
  }
}

function openSettings(): void {
  const { state } = session;
  settings.open(state.kind === 'ready' ? { config: state.config, info: state.engine.info } : undefined, presetsFor(state.choice));
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
  graph.begin();
  void loadMarkdown();
  notice.dismiss();
  announcer.say('The reply has started');
}

function showWaiting(waiting: boolean): void {
  composer.setWaiting(waiting);
  showReadiness();
}

function takeBack(text: string, files: readonly Attachment[]): void {
  if (chat.empty) conversations.withdraw();
  composer.takeBack(text, files);
  announcer.say('The message is in the box again');
}

function showEnd(end: ReplyEnd, timings: Timings | undefined): void {
  if (timings) {
    status.showTimings(timings);
    graph.showRate((timings.decodeTokens / timings.decodeMs) * 1000);
  }
  if (session.engine) conversations.replied(session.engine, chat.conversation.id);
  if (end !== 'failed' && end !== 'cut-off') announcer.say(END_WORDS[end]);
  offerUpdate();
  void refreshMemory();
}

/** Once nothing runs that it would be in the way of: a reply, a download with its card, a GPU that wants less memory. */
function offerUpdate(): void {
  if (!updateReady || chat.busy || session.state.kind === 'loading' || pressure) return;
  notice.showCaution(UPDATE);
  announcer.say(UPDATE.title);
}

async function updatePage(): Promise<void> {
  if (chat.busy) return; // offered again when it has ended
  await conversations.states.saveNow();
  if (!(await offline.update())) show({ ...UPDATE, text: OTHER_TABS });
}

function showLiveRate(rate: { tokens: number; ms: number }): void {
  if (status.showLive(rate)) graph.showRate((rate.tokens / rate.ms) * 1000);
}

function whenIdle(run: () => unknown): void {
  if ('requestIdleCallback' in window) requestIdleCallback(() => run());
  else setTimeout(run, 200); // Safari
}

async function refreshMemory(): Promise<void> {
  const { choice } = session.state;
  const info = await currentInfo();
  if (info) status.showModel(modelLabel(choice), info);
}

/** Undefined without an engine. */
async function currentInfo(): Promise<EngineInfo | undefined> {
  try {
    return await session.engine?.refreshInfo();
  } catch (error) {
    if (error instanceof EngineError) return undefined; // unloaded or lost meanwhile: the session says so itself
    throw error;
  }
}

function regenerate(): void {
  if (!chat.regenerate()) announcer.say('The model is not ready yet.');
}

function isError(error: unknown, code: ErrorCode): boolean {
  return error instanceof EngineError && error.code === code;
}
