/** The doctor's page as people see it. */
import { figure } from '../src/bench/report';
import { bytesText, type Progress } from '../src/doctor/context';
import { type CheckId, checkIds, type Finding, type Marker, type Report } from '../src/doctor/report';
import { checkTitles, reportText } from '../src/doctor/report_text';
import { cloneTemplate, part, required } from './dom';

export class DoctorView {
  readonly #rows = new Map<CheckId, HTMLElement>();
  readonly #bar = required('bar', HTMLProgressElement);
  readonly #state = required('run-state', HTMLElement);
  #asked: readonly CheckId[] = checkIds;

  constructor(private readonly announce: (text: string) => void) {
    this.reset(checkIds);
  }

  reset(asked: readonly CheckId[]): void {
    this.#asked = asked;
    const rows = asked.map((id) => {
      const row = cloneTemplate('check-row');
      row.dataset.check = id;
      part(row, 'title').textContent = checkTitles[id];
      this.#rows.set(id, row);
      return row;
    });
    required('checks', HTMLOListElement).replaceChildren(...rows);
    this.#bar.value = 0;
    for (const id of ['verdict-section', 'report-section', 'died']) required(id, HTMLElement).hidden = true;
  }

  start(id: CheckId): void {
    this.#setStatus(id, 'running', '');
    this.progress(id, { done: 0, total: 1, step: 'starting' });
  }

  progress(id: CheckId, { done, total, step }: Progress): void {
    const before = this.#asked.indexOf(id);
    this.#bar.value = (before + done / Math.max(1, total)) / this.#asked.length;
    this.#state.textContent = `${checkTitles[id]}: ${total > 1 ? `${Math.floor(done)} of ${total}, ` : ''}${step}`;
  }

  finding(id: CheckId, finding: Finding): void {
    const { status, summary, problems, facts } = finding;
    this.#setStatus(id, status, summary);
    const row = this.#rows.get(id)!;
    const others = problems.filter((problem) => problem !== summary);
    const list = part(row, 'problems');
    list.replaceChildren(...others.slice(0, 20).map((problem) => element('li', problem)));
    list.hidden = others.length === 0;
    const entries = flat(facts);
    part(row, 'facts').replaceChildren(...entries.flatMap(([name, value]) => [element('dt', name), element('dd', value)]));
    part(row, 'details').hidden = entries.length === 0;
    if (status === 'failed') this.announce(`${checkTitles[id]} failed. ${summary}`);
  }

  end(report: Report): void {
    for (const [id, row] of this.#rows) if (row.dataset.status === 'running') this.#setStatus(id, 'waiting', '');
    const failed = Object.values(report.findings).filter(({ status }) => status === 'failed').length;
    const words =
      report.state === 'cancelled'
        ? 'Cancelled.'
        : failed > 0
          ? `Done: ${failed} of ${this.#asked.length} checks failed.`
          : isWhole(report)
            ? 'Done: Sluice works on this device.'
            : 'Done: nothing wrong was found in what was checked.';
    this.#bar.value = report.state === 'done' ? 1 : this.#bar.value;
    this.#state.textContent = words;
    this.announce(words);
    this.#showVerdicts(report);
    this.showReport(report);
  }

  refuse(why: string): void {
    this.#state.textContent = why;
    this.announce(why);
  }

  showReport(report: Report): void {
    required('report-section', HTMLElement).hidden = false;
    required('report', HTMLTextAreaElement).value = reportText(report);
  }

  /** What a dead tab left behind. */
  showDeath({ check, step, heldBytes }: Marker): void {
    const where = heldBytes === undefined ? step : `while ${bytesText(heldBytes)} of GPU memory were asked for`;
    const advice =
      check === 'memory'
        ? 'This time the check goes no further than half of that, unless you choose more.'
        : 'Its report up to there is below. Should it happen again, please report it.';
    required('died-text', HTMLElement).textContent = `It was at “${checkTitles[check] ?? check}”, ${where}. ${advice}`;
    required('died', HTMLElement).hidden = false;
  }

  #showVerdicts({ verdicts }: Report): void {
    const rows = verdicts.map(({ model, weightBytes, answer, words }) => {
      const row = document.createElement('tr');
      const name = element('th', model);
      name.setAttribute('scope', 'row');
      const here = element('td', answer === 'memory' ? 'in memory' : answer);
      here.dataset.answer = answer;
      here.className = 'nowrap';
      const weights = element('td', weightBytes > 0 ? `${figure(weightBytes / 1e9)} GB` : '–', 'nowrap');
      weights.dataset.name = 'Weights'; // for where the table's head is out of sight
      row.append(name, weights, here, element('td', words));
      return row;
    });
    required('verdicts', HTMLTableSectionElement).replaceChildren(...rows);
    required('verdict-section', HTMLElement).hidden = rows.length === 0;
  }

  #setStatus(id: CheckId, status: string, summary: string): void {
    const row = this.#rows.get(id)!;
    row.dataset.status = status;
    part(row, 'status').textContent = status;
    part(row, 'summary').textContent = summary;
  }
}

/** Everything was looked at, and nothing was changed for a test. */
function isWhole({ findings, only, planted }: Report): boolean {
  const ran = checkIds.every((id) => findings[id] && findings[id].status !== 'skipped');
  return ran && only === undefined && planted === undefined;
}

function element(tag: string, text: string, className = ''): HTMLElement {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** 'storage.quotaBytes' → '10,737,418,240': every figure of a finding on a line of its own. */
function flat(value: unknown, name = ''): [string, string][] {
  if (Array.isArray(value)) {
    if (value.every((each) => typeof each !== 'object')) return value.length > 0 ? [[name, value.join(', ')]] : [];
    return value.flatMap((each, i) => flat(each, `${name} ${i + 1}`));
  }
  if (typeof value === 'object' && value !== null)
    return Object.entries(value).flatMap(([key, each]) => flat(each, name ? `${name} · ${key}` : key));
  if (value === undefined || value === '') return [];
  return [[name, typeof value === 'number' ? numberText(value) : String(value)]];
}

const numberText = (value: number): string => (Number.isInteger(value) ? value.toLocaleString('en') : value.toPrecision(4));
