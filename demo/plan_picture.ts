/** Draws a memory plan: the bar, the table that is its legend and its text alternative, and the facts below it. */
import type { PlanReport } from '../src/api';
import { required } from './dom';
import { formatBytes, formatShare } from './format';
import { diskText, type Segment, segmentsOf, speedText, streamText, totalText, unitCells, unitsText } from './plan_view';

export class PlanPicture {
  readonly #bar = required('plan-bar', HTMLElement);
  readonly #table = required('plan-table', HTMLElement);
  readonly #flow = required('plan-flow', HTMLElement);
  readonly #rows = required('plan-rows', HTMLElement);
  readonly #units = required('plan-units', HTMLElement);
  readonly #total = required('plan-total', HTMLElement);

  clear(): void {
    this.#bar.replaceChildren();
    this.#total.textContent = '';
    this.#setHidden(true);
    this.setStale(false);
  }

  /** `stale`: a new plan is being made or was refused, so this one is only something to compare with. */
  setStale(stale: boolean): void {
    for (const part of [this.#bar, this.#table, this.#flow, this.#total]) part.dataset.stale = String(stale);
  }

  show(plan: PlanReport): void {
    this.#setHidden(false);
    this.setStale(false);
    const segments = segmentsOf(plan);
    this.#bar.replaceChildren(...segments.map(barPiece));
    this.#rows.replaceChildren(...segments.map(tableRow));
    this.#total.textContent = totalText(plan);
    this.#showStreaming(plan);
    this.#showFacts(plan);
  }

  #setHidden(hidden: boolean): void {
    this.#table.hidden = hidden;
    this.#flow.hidden = hidden;
  }

  #showStreaming(plan: PlanReport): void {
    setText('plan-stream', streamText(plan));
    setText('plan-units-text', unitsText(plan));
    this.#units.replaceChildren(
      ...unitCells(plan).map(({ share, streamed }) => {
        const cell = element('span', { streamed: String(streamed) });
        cell.style.flexGrow = String(share);
        return cell;
      }),
    );
  }

  #showFacts(plan: PlanReport): void {
    const speed = speedText(plan);
    setText('plan-speed', speed.value);
    setText('plan-speed-note', speed.note);
    setText('plan-smallest', formatBytes(plan.smallestBudgetBytes));
    setText('plan-smallest-note', `With ${plan.contextTokens.toLocaleString('en')} tokens of context.`);
    const disk = diskText(plan);
    setText('plan-disk', disk.value);
    setText('plan-disk-note', disk.note);
  }
}

function barPiece({ use, width }: Segment): HTMLElement {
  const piece = element('span', { use });
  piece.style.flex = `${width} 1 0`;
  return piece;
}

function tableRow({ use, label, note, bytes, share }: Segment): HTMLElement {
  const row = document.createElement('tr');
  const head = document.createElement('th');
  head.scope = 'row';
  const swatch = element('span', { use });
  swatch.className = 'swatch';
  const name = document.createElement('span');
  const of = document.createElement('span');
  of.className = 'of';
  of.textContent = note === '' ? '' : ` ${note}`;
  name.append(label, of);
  head.append(swatch, name);
  row.append(head, cell(formatBytes(bytes)), cell(share === undefined ? '' : formatShare(share)));
  return row;
}

function cell(text: string): HTMLElement {
  const td = document.createElement('td');
  td.textContent = text;
  return td;
}

function element(tag: string, data: Record<string, string>): HTMLElement {
  const made = document.createElement(tag);
  Object.assign(made.dataset, data);
  return made;
}

function setText(id: string, text: string): void {
  required(id, HTMLElement).textContent = text;
}
