/**
 * The doctor's page. The query may hold `json` (runs at once and leaves nothing but JSON on the page), `checks=kernels,memory`,
 * `only=gemv` (a part of kernels' names), `memory=2` and `disk=0.5` (GiB), and `plant=…`, a fault for tests to find (src/doctor/plant.ts).
 */
import { EngineError } from '../src/api';
import { bytesText, type ExamOptions, gib } from '../src/doctor/context';
import { type Plant, parsePlant, plantableChecks } from '../src/doctor/plant';
import { type CheckId, checkIds, type Report } from '../src/doctor/report';
import { forgetMarker, lastReport, takeMarker } from './doctor_memory';
import { DoctorView } from './doctor_view';
import { copyField, onPress, required, saveText, setUnavailable } from './dom';
import { Examiner } from './examiner';
import { setUpTheme } from './theme';

const query = new URL(location.href).searchParams;
const died = takeMarker();
let shown: Report | undefined;

// A visitor who leaves is no death. Where the page comes back from the browser's cache, the next step is marked again.
addEventListener('pagehide', forgetMarker);

if (isHandheld()) required('memory-limit', HTMLSelectElement).value = '1';
if (query.has('json')) void runForMachines();
else setUpPage();

async function runForMachines(): Promise<void> {
  document.documentElement.dataset.state = 'running';
  const silent = { onStart: () => {}, onProgress: () => {}, onFinding: () => {} };
  const text = await Promise.resolve(new Examiner(silent))
    .then(examine)
    .then(
      (report) => JSON.stringify(report, null, 1),
      (error: Error) => JSON.stringify({ sluice: 'doctor', error: error.message }),
    );
  const main = document.createElement('main');
  const pre = document.createElement('pre');
  pre.className = 'json';
  pre.textContent = text;
  main.append(pre);
  document.body.replaceChildren(main);
  document.documentElement.dataset.state = 'done';
}

function setUpPage(): void {
  setUpTheme();
  const announcer = required('announcer', HTMLElement);
  const view = new DoctorView((text) => {
    announcer.textContent = text;
  });
  const examiner = new Examiner({
    onStart: (id) => view.start(id),
    onProgress: (id, progress) => view.progress(id, progress),
    onFinding: (id, finding) => view.finding(id, finding),
  });
  const [start, cancel] = [required('start', HTMLButtonElement), required('cancel', HTMLButtonElement)];
  if (died) showDeath(view);
  onPress(start, () => void run());
  onPress(cancel, () => examiner.cancel());
  onPress(required('copy', HTMLButtonElement), async () => {
    announcer.textContent = await copyField(required('report', HTMLTextAreaElement), 'The report is');
  });
  onPress(required('save', HTMLButtonElement), () => saveText('sluice-doctor.json', JSON.stringify(shown, null, 1)));

  async function run(): Promise<void> {
    setUnavailable(start, true);
    setUnavailable(cancel, false);
    document.documentElement.dataset.state = 'running';
    announcer.textContent = 'The check has started';
    try {
      view.reset(askedChecks());
      shown = await examine(examiner);
      view.end(shown);
      document.documentElement.dataset.state = shown.state;
    } catch (error) {
      view.refuse((error as Error).message); // the address asks for something that there is not
      document.documentElement.dataset.state = 'done';
    }
    setUnavailable(start, false);
    setUnavailable(cancel, true);
  }
}

function examine(examiner: Examiner): Promise<Report> {
  const plant = query.get('plant');
  const [memory, disk] = [gibibytes('memory'), gibibytes('disk')];
  const options: ExamOptions = {
    modelUrl: new URL('./model/', document.baseURI).href,
    ...(memory === undefined ? chosenMemory() : { memoryBytes: memory }),
    ...(disk === undefined ? {} : { diskBytes: disk }),
    ...(isHandheld() ? { handheld: true } : {}),
    ...(query.get('only') ? { only: query.get('only')! } : {}),
    ...(plant ? { plant: parsePlant(plant) } : {}),
  };
  const checks = askedChecks();
  if (options.plant) requirePlantable(options.plant, checks);
  return examiner.run(checks, options, died);
}

/** A fault that no check would meet. @throws EngineError 'invalid-request' */
function requirePlantable(plant: Plant, checks: readonly CheckId[]): void {
  const able = plantableChecks(plant);
  if (checks.some((id) => able.includes(id))) return;
  throw new EngineError(
    'invalid-request',
    `This fault shows in the checks ${able.join(', ')} alone; none of them was asked for.`,
  );
}

/** @throws EngineError 'invalid-request' */
function askedChecks(): CheckId[] {
  const wanted = query.get('checks')?.split(',');
  const stranger = wanted?.find((name) => !checkIds.some((id) => id === name));
  if (stranger !== undefined)
    throw new EngineError('invalid-request', `checks must be of ${checkIds.join(', ')}; there is another one.`);
  return checkIds.filter((id) => !wanted || wanted.includes(id));
}

function gibibytes(name: string): number | undefined {
  const value = Number(query.get(name) ?? Number.NaN);
  return value > 0 ? value * gib : undefined;
}

/** Left as it is, the choice is the doctor's own, which is smaller on a CPU adapter. */
function chosenMemory(): { memoryBytes?: number } {
  const select = document.getElementById('memory-limit');
  if (!(select instanceof HTMLSelectElement)) return {};
  return select.selectedOptions[0]?.defaultSelected ? {} : { memoryBytes: Number(select.value) * gib };
}

/** Phones and tablets kill a tab at little more than this, an iPad that calls itself a Mac included. */
function isHandheld(): boolean {
  return (
    /\b(?:iPhone|iPad|Android|Mobile)\b/.test(navigator.userAgent) ||
    (/Macintosh/.test(navigator.userAgent) && navigator.maxTouchPoints > 1)
  );
}

/** A ladder that killed the tab is climbed half as far, unless the visitor says otherwise. */
function showDeath(view: DoctorView): void {
  view.showDeath(died!);
  const last = lastReport();
  shown = last && { ...last, died: died! };
  if (shown) view.showReport(shown);
  if (!died?.heldBytes) return;
  const select = required('memory-limit', HTMLSelectElement);
  const half = died.heldBytes / 2;
  const safe = [...select.options].filter(({ value }) => Number(value) * gib <= half);
  if (safe.length === 0) select.prepend(new Option(bytesText(half), String(half / gib)));
  select.value = (safe.at(-1) ?? select.options[0]!).value;
}
