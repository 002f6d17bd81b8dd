/** The chat page: joins its parts. Imports nothing of Sluice but src/api, as any site would. */
import { type Engine, EngineError, type Timings } from '../src/api';
import { Announcer } from './announcer';
import { Chat } from './chat';
import { Composer } from './composer';
import { hide, onPress, required } from './dom';
import { EmptyState } from './empty_state';
import { setUpFileDrop } from './file_drop';
import { type ModelChoice, modelLabel } from './model_choice';
import { Notice, type NoticeAction } from './notice';
import { PickerDialog } from './picker_dialog';
import { describeProblem, type Where } from './problems';
import { ScrollFollow } from './scroll_follow';
import { ModelSession, type SessionState } from './session';
import { engineConfigOf, samplingOf } from './settings';
import { SettingsDialog } from './settings_dialog';
import { StatusLine } from './status_line';
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
  retry: () => (session.engine ? regenerate() : loadModel(session.state.choice)),
  'reload-model': () => loadModel(session.state.choice),
  bundled: () => loadModel({ kind: 'bundled' }),
  picker: () => picker.open(),
  settings: openSettings,
  'new-chat': startNewChat,
  'reload-page': () => location.reload(),
};

setUpTheme();
const scroller = required('scroller', HTMLElement);
const announcer = new Announcer(required('announcer', HTMLElement));
const status = new StatusLine();
const follow = new ScrollFollow(scroller, required('jump', HTMLElement), scroller);
const settings = new SettingsDialog(() => loadModel(session.state.choice));
const picker = new PickerDialog(loadModel);
const notice = new Notice(scroller, (action) => ACTIONS[action]());
const empty = new EmptyState(useSuggestion);
const composer = new Composer(send, () => chat.stop());
const session = new ModelSession(showSession);
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
  onCopied: (copied) => announcer.say(copied ? 'Reply copied' : 'The browser did not allow copying. Select the text instead.'),
});

onPress(required('new-chat', HTMLButtonElement), startNewChat);
onPress(required('open-picker', HTMLButtonElement), () => picker.open());
onPress(required('open-settings', HTMLButtonElement), openSettings);
setUpFileDrop((files, folderName) => picker.chooseFiles(files, folderName));
loadModel({ kind: 'bundled' });

function loadModel(choice: ModelChoice): void {
  chat.stop();
  void session.load(choice, engineConfigOf(settings.current));
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
      notice.dismiss();
      announcer.say(`${label} is ready`);
      watchDevice(state.engine);
  }
}

function watchDevice(engine: Engine): void {
  void engine.lost.then(({ message }) => {
    session.fail(engine, new EngineError('device-lost', message));
  });
}

function showProblem(error: unknown, where: Where): void {
  const bundled = session.state.choice.kind === 'bundled';
  const problem = describeProblem(error, where, {
    secureContext: isSecureContext,
    webGpu: 'gpu' in navigator,
    online: navigator.onLine,
    bundled,
  });
  notice.showProblem(problem);
  announcer.say(`${problem.title}. ${problem.text}`);
}

function showReplyError(error: unknown, engine: Engine): void {
  if (isDeviceLost(error)) session.fail(engine, error);
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

function showBusy(busy: boolean): void {
  composer.setBusy(busy);
  if (!busy) return;
  notice.dismiss();
  announcer.say('The reply has started');
}

function showEnd(end: ReplyEnd, timings: Timings | undefined): void {
  if (timings) status.showTimings(timings);
  if (end !== 'failed') announcer.say(END_WORDS[end]);
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

function isDeviceLost(error: unknown): boolean {
  return error instanceof EngineError && error.code === 'device-lost';
}
