/** The page for a Mac with Safari: asks what Safari does not tell, explains what Safari does, and holds one small conversation. */
import { createEngine, type DownloadControl, type Engine, type LoadProgress, listModels } from '../src/api';
import { cardLink } from './card_link';
import { CHECKED_WORDS } from './catalogue';
import { cloneTemplate, hide, onPress, part, required, setUnavailable } from './dom';
import { errorText, formatBytes, formatProgressBytes } from './format';
import { MacChat } from './mac_chat';
import { canRun, conditionsOf, look, type Surroundings } from './mac_conditions';
import { choiceFor, type MacMemory, type MacModel, macMemories, mustExplainDeletion, storyModel } from './mac_models';
import { keptOf, keptWords, loadRecord, saveRecord } from './mac_record';
import { setUpTheme } from './theme';

const announcer = required('announcer', HTMLElement);
const [start, pause, cancel] = (['start', 'pause', 'cancel'] as const).map((id) => required(id, HTMLButtonElement)) as [
  HTMLButtonElement,
  HTMLButtonElement,
  HTMLButtonElement,
];
const say = (text: string) => {
  announcer.textContent = text;
};
const chat = new MacChat(say);
let here: Surroundings | undefined;
let engine: Engine | undefined;
let loading: AbortController | undefined;
let download: DownloadControl | undefined;
/** The id of a model that needs no download. */
let modelHere: string | undefined;

setUpTheme();
for (const input of document.querySelectorAll('input[type=radio]')) input.addEventListener('change', showChoice);
onPress(start, () => void begin());
onPress(cancel, () => loading?.abort());
onPress(pause, () => setPaused(pause.textContent === 'Pause'));
onPress(required('later', HTMLButtonElement), () =>
  explained('Choose File › Add to Dock… in the menu bar, open the app from the Dock, and start there.'),
);
onPress(required('anyway', HTMLButtonElement), () => {
  explained('');
  void load();
});
void arrive();

async function arrive(): Promise<void> {
  here = await look();
  const conditions = conditionsOf(here);
  required('conditions', HTMLOListElement).replaceChildren(
    ...conditions.map(({ id, title, status, words }) => {
      const row = cloneTemplate('condition-row');
      row.dataset.status = status;
      row.dataset.condition = id;
      part(row, 'status').textContent = { passed: 'yes', noted: 'no', failed: 'no' }[status];
      part(row, 'title').textContent = title;
      part(row, 'words').textContent = words;
      return row;
    }),
  );
  const able = canRun(conditions);
  if (able) await welcomeBack();
  required('choose', HTMLElement).hidden = !able;
  showChoice();
  document.documentElement.dataset.state = able ? 'ready' : 'unable';
}

/** Says what became of the last visit's model: here, begun, or deleted by the browser. */
async function welcomeBack(): Promise<void> {
  const record = loadRecord(location.hash);
  if (record) choose(record.memory, record.model);
  const stored = here?.privateFiles ? await listModels().catch(() => []) : [];
  const kept = keptOf(record && { ...record, model: addressOf(record.model) }, stored);
  if (kept.state === 'ready') modelHere = record?.model;
  const words = keptWords(kept, here?.standalone ?? false);
  required('kept-text', HTMLElement).textContent = words;
  required('kept', HTMLElement).hidden = words === '';
  required('kept', HTMLElement).dataset.kept = kept.state;
  if (kept.state === 'begun') start.textContent = 'Go on with the download';
}

/** As the store names it. */
const addressOf = (id: string): string => (id === storyModel.id ? new URL('./model/', document.baseURI).href : id);

function choose(memory: MacMemory, model: string): void {
  for (const input of document.querySelectorAll<HTMLInputElement>('input[type=radio]'))
    if (input.value === (input.name === 'memory' ? memory : model === storyModel.id ? 'bundled' : 'picked')) input.checked = true;
}

function chosen(): { memory: MacMemory; model: MacModel; gpuBudget: number } {
  const value = (name: string) => document.querySelector<HTMLInputElement>(`input[name=${name}]:checked`)!.value;
  const memory = macMemories.find((known) => known === value('memory'))!;
  const picked = choiceFor(memory);
  return { memory, gpuBudget: picked.gpuBudget, model: value('model') === 'bundled' ? storyModel : picked.model };
}

function showChoice(): void {
  const { memory, gpuBudget } = chosen();
  const { model, entry } = choiceFor(memory);
  for (const [prefix, each] of [['picked', model] as const, ['story', storyModel] as const]) {
    required(`${prefix}-name`, HTMLElement).textContent = each.name;
    required(`${prefix}-size`, HTMLElement).textContent = `${formatBytes(each.bytes)} to download`;
    required(`${prefix}-summary`, HTMLElement).textContent = each.summary;
  }
  required('picked-licence', HTMLElement).replaceChildren(
    `${entry.name}: licence `,
    cardLink(entry),
    `. ${CHECKED_WORDS[entry.checked]}.`,
  );
  required('budget-note', HTMLElement).textContent =
    `It takes at most ${formatBytes(gpuBudget)} of memory at the start. The chat page can give it more once it has run well.`;
}

async function begin(): Promise<void> {
  const { model } = chosen();
  if (model.id !== modelHere && mustExplainDeletion(model, here!)) explain(model);
  else await load();
}

function explain(model: MacModel): void {
  const box = required('explain', HTMLElement);
  required('explain-size', HTMLElement).textContent = formatBytes(model.bytes);
  box.hidden = false;
  box.focus();
  setUnavailable(start, true);
}

function explained(words: string): void {
  required('explain', HTMLElement).hidden = true;
  setUnavailable(start, false);
  start.focus();
  required('run-line', HTMLElement).hidden = words === '';
  showState(words);
}

/** In place of whatever runs: two models never share the memory. */
async function load(): Promise<void> {
  const { memory, model, gpuBudget } = chosen();
  loading?.abort();
  const own = new AbortController();
  loading = own;
  setLoading(true);
  chat.use(undefined);
  saveRecord({ memory, model: model.id, complete: false });
  try {
    await engine?.unload();
    engine = await createEngine(addressOf(model.id), { gpuBudget, signal: own.signal, onProgress: showProgress });
    const complete = engine.plan.disk.home === 'opfs';
    saveRecord({ memory, model: model.id, complete });
    if (complete) modelHere = model.id;
    chat.use(engine);
    showState(`${model.name} is ready.`);
    watch(engine);
    document.documentElement.dataset.state = 'running';
  } catch (error) {
    engine = undefined;
    fail(error);
  } finally {
    setLoading(false);
  }
}

function fail(error: unknown): void {
  if (error instanceof DOMException && error.name === 'AbortError') {
    showState('Cancelled. What has arrived is kept, and the download goes on from there.');
    return;
  }
  showState('');
  required('problem-text', HTMLElement).textContent = errorText(error);
  required('problem', HTMLElement).hidden = false;
  say(errorText(error));
  document.documentElement.dataset.state = 'failed';
}

function watch(running: Engine): void {
  void running.lost.then(({ message }) => {
    if (engine !== running) return;
    chat.use(undefined);
    fail(new Error(`The GPU was lost (${message}). Start again; if it happens twice, choose less memory above.`));
  });
}

function showProgress({ progress, loaded, total, phase, text }: LoadProgress, control: DownloadControl): void {
  download = control;
  required('bar', HTMLProgressElement).value = progress;
  pause.hidden = phase !== 'download';
  if (pause.textContent === 'Pause')
    required('run-state', HTMLElement).textContent = [text, formatProgressBytes({ loaded, total })].filter(Boolean).join(', ');
}

function setPaused(paused: boolean): void {
  if (paused) download?.pause();
  else download?.resume();
  pause.textContent = paused ? 'Resume' : 'Pause';
  showState(paused ? 'The download is paused.' : 'The download goes on.');
}

function showState(text: string): void {
  required('run-state', HTMLElement).textContent = text;
  if (text) say(text);
}

function setLoading(on: boolean): void {
  required('problem', HTMLElement).hidden ||= on;
  required('run-line', HTMLElement).hidden = false;
  setUnavailable(start, on);
  if (on) cancel.hidden = false;
  else hide(cancel, start);
  if (!on) pause.hidden = true;
  pause.textContent = 'Pause';
  if (on) document.documentElement.dataset.state = 'loading';
  start.textContent = on ? 'Starting …' : engine ? 'Start again' : 'Start';
}
