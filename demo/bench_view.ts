/** A benchmark's results as people see them. */
import { clocksText, type ReportedContext, type ReportedFigures, type ReportedProfile } from '../src/bench/model_report';
import { figure, percent, type ReportedRow } from '../src/bench/report';
import type { BenchResult } from '../src/bench/run';
import { type Bar, barCells, curve } from './charts';
import { required } from './dom';
import { formatAdapter, formatBytes } from './format';

export function showResult(result: BenchResult): void {
  const { adapter, ceilings, subgroups } = result;
  const name = formatAdapter(adapter);
  required('adapter', HTMLElement).textContent = `${name}, subgroups ${subgroups ? 'on' : 'off'}.`;
  required('caution', HTMLElement).hidden = !adapter.isCpu;
  required('ceilings', HTMLDListElement).replaceChildren(
    tile('read bandwidth', ceilings.readGBps.value, 'GB/s'),
    tile('copy, both ways', ceilings.copyGBps.value, 'GB/s'),
    multiplyAdd(ceilings.fmaTflops.value),
    tile('dependent dispatch', ceilings.dispatchUs.value, 'µs'),
    tile('encoding a dispatch', ceilings.encodeUs.value, 'µs'),
    tile('submit and map', ceilings.roundTripMs.value, 'ms'),
    tile('upload', ceilings.uploadGBps.value, 'GB/s'),
    tile('readback', ceilings.readbackGBps.value, 'GB/s'),
  );
  show('ceilings-section', true);
  const contexts = (result.model ?? []).filter((row): row is ReportedFigures => !('skipped' in row));
  const bars = result.kernels ? kernelBars(result.kernels) : contexts.flatMap(contextBars);
  required('bars', HTMLElement).replaceChildren(...bars.flatMap(barCells));
  show('bars-section', bars.length > 0);
  showCurves(contexts);
  const table = result.kernels ? kernelTable(result.kernels) : modelTable(result.model ?? []);
  required('figures', HTMLTableElement).replaceChildren(...table);
  show('figures-section', table.length > 0);
  const profiles = contexts.flatMap(({ context, profiles }) => profiles.flatMap((profile) => profileParts(context, profile)));
  required('profiles', HTMLElement).replaceChildren(...profiles);
  show('profiles-section', profiles.length > 0);
  show('report-section', true);
  required('report', HTMLTextAreaElement).value = JSON.stringify(result, null, 1);
}

export function hideResult(): void {
  const sections = ['ceilings', 'bars', 'curve', 'figures', 'profiles', 'report'].map((name) => `${name}-section`);
  for (const id of [...sections, 'caution']) show(id, false);
}

function show(id: string, shown: boolean): void {
  required(id, HTMLElement).hidden = !shown;
}

function tile(name: string, value: number, unit: string): HTMLElement {
  const box = document.createElement('div');
  const [term, words, small] = ['dt', 'dd', 'small'].map((tag) => document.createElement(tag)) as [
    HTMLElement,
    HTMLElement,
    HTMLElement,
  ];
  term.textContent = name;
  small.textContent = ` ${unit}`;
  words.append(figure(value), small);
  box.append(term, words);
  return box;
}

/** In a unit that a CPU adapter's rate can be read in, too. */
function multiplyAdd(tflops: number): HTMLElement {
  return tflops < 0.1 ? tile('f32 multiply-add', 1000 * tflops, 'GFLOP/s') : tile('f32 multiply-add', tflops, 'TFLOP/s');
}

function contextBars({ context, ofRead, ofFma, decodeTokensPerSecond, prefillTokensPerSecond }: ReportedFigures): Bar[] {
  const at = context === 0 ? 'empty context' : `context ${context.toLocaleString('en')}`;
  const rate = (value: number, share: number) => `${figure(value)} tok/s, ${percent(share)}`;
  return [
    { name: `Decode, ${at}`, of: 'read', share: ofRead, value: rate(decodeTokensPerSecond.median, ofRead) },
    { name: `Prefill, ${at}`, of: 'fma', share: ofFma, value: rate(prefillTokensPerSecond.median, ofFma) },
  ];
}

/** The best of each matrix: at one token against memory, at many against arithmetic. */
function kernelBars(rows: readonly ReportedRow[]): Bar[] {
  const best = rows.filter((row) => row.best && row.activations === 'f32');
  return best.map((row) => {
    const of = row.tokens <= 8 ? 'read' : 'fma';
    const share = (of === 'read' ? row.ofRead : row.ofFma) ?? 0;
    const tokens = `${row.tokens} token${row.tokens === 1 ? '' : 's'}`;
    return { name: `${row.matrix}, ${tokens}`, of, share, value: `${figure(row.us!)} µs, ${percent(share)}` };
  });
}

function showCurves(contexts: readonly ReportedFigures[]): void {
  const points = (of: (row: ReportedFigures) => number) => contexts.map((row) => ({ x: row.context, y: of(row) }));
  const drawn = contexts.length > 1;
  required('curves', HTMLElement).replaceChildren(
    ...(drawn
      ? [
          curve(
            'Decode',
            points(({ decodeTokensPerSecond }) => decodeTokensPerSecond.median),
            figure,
          ),
          curve(
            'Prefill',
            points(({ prefillTokensPerSecond }) => prefillTokensPerSecond.median),
            figure,
          ),
        ]
      : []),
  );
  show('curve-section', drawn);
}

function modelTable(rows: readonly ReportedContext[]): Element[] {
  if (rows.length === 0) return [];
  const head = [
    'Context',
    'Decode tok/s',
    'of read',
    'Prefill tok/s',
    'of multiply-add',
    'A token reads',
    'Peak GPU memory',
    'Dispatches',
  ];
  return table(
    head,
    rows.map((row) =>
      'skipped' in row
        ? [row.context.toLocaleString('en'), `skipped: ${row.skipped}`]
        : [
            row.context.toLocaleString('en'),
            `${figure(row.decodeTokensPerSecond.median)} ± ${percent(row.decodeTokensPerSecond.spread / 2)}`,
            percent(row.ofRead),
            `${figure(row.prefillTokensPerSecond.median)} ± ${percent(row.prefillTokensPerSecond.spread / 2)}`,
            percent(row.ofFma),
            formatBytes(row.bytesPerToken.total),
            formatBytes(row.peakGpuBytes),
            figure(row.dispatchesPerToken),
          ],
    ),
  );
}

function profileParts(context: number, { tokens, rows }: ReportedProfile): Element[] {
  const total = rows.reduce((sum, { msPerStep }) => sum + msPerStep, 0);
  const words = document.createElement('p');
  words.className = 'note';
  const what = tokens === 1 ? 'Decode' : `${tokens} tokens of prompt`;
  words.textContent = `${what} at context ${context.toLocaleString('en')}: ${figure(total)} ms in kernels by ${clocksText(rows)}.`;
  const [box, shown] = [document.createElement('div'), document.createElement('table')];
  box.className = 'table-box';
  shown.className = 'table stacked';
  shown.append(
    ...table(
      ['Kernel', 'a step', 'µs each', 'of all', 'GB/s', 'of read', 'TFLOP/s', 'of multiply-add'],
      rows.map((row) => [
        row.kernel,
        String(row.dispatches),
        figure(row.us),
        percent(row.msPerStep / total),
        row.gbPerSecond === undefined ? '–' : figure(row.gbPerSecond),
        row.ofRead === undefined ? '–' : percent(row.ofRead),
        row.tflops === undefined ? '–' : figure(row.tflops),
        row.ofFma === undefined ? '–' : percent(row.ofFma),
      ]),
    ),
  );
  box.append(shown);
  return [words, box];
}

function kernelTable(rows: readonly ReportedRow[]): Element[] {
  return table(
    ['Matrix', 'Tokens', 'Candidate', 'µs', 'GB/s', 'of read', 'TFLOP/s', 'of multiply-add', 'Outcome'],
    rows.map((row) => [
      `${row.matrix} ${row.rows}×${row.cols}`,
      String(row.tokens),
      row.candidate,
      row.us === undefined ? '–' : figure(row.us),
      row.gbPerSecond === undefined ? '–' : figure(row.gbPerSecond),
      row.ofRead === undefined ? '–' : percent(row.ofRead),
      row.tflops === undefined ? '–' : figure(row.tflops),
      row.ofFma === undefined ? '–' : percent(row.ofFma),
      row.best ? 'best' : row.outcome === 'right' ? 'right' : `${row.outcome}: ${row.reason}`,
    ]),
  );
}

function table(head: readonly string[], rows: readonly string[][]): Element[] {
  const cell = (tag: string, text: string, scope = '') => {
    const made = document.createElement(tag);
    made.textContent = text;
    if (scope) made.setAttribute('scope', scope);
    return made;
  };
  const line = (cells: Element[]) => {
    const made = document.createElement('tr');
    made.append(...cells);
    return made;
  };
  const [top, body] = [document.createElement('thead'), document.createElement('tbody')];
  top.append(line(head.map((text) => cell('th', text, 'col'))));
  body.append(
    ...rows.map((texts) =>
      line(
        texts.map((text, i) => {
          const made = i === 0 ? cell('th', text, 'row') : cell('td', text);
          made.setAttribute('data-name', head[i]!);
          if (/^\d/.test(text)) made.className = 'nowrap'; // a figure and its unit stay together
          if (i > 0 && texts.length === 2) made.setAttribute('colspan', String(head.length - 1));
          return made;
        }),
      ),
    ),
  );
  return [top, body];
}
