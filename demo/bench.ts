/**
 * The benchmark's page. The query takes the command line's words (src/bench/request.ts); with `run` or `post` it starts at once, and
 * `post=/result` sends the results there as JSON when it is over, an error included: to this page's own origin alone. The state is
 * 'posted' then, or 'not-posted' where they did not arrive.
 */
import { proxy, type Remote, wrap } from 'comlink';
import { requestFromQuery } from '../src/bench/request';
import type { BenchResult, BenchWorkerApi } from '../src/bench/run';
import workerUrl from '../workers/bench.worker.ts?worker&url';
import { hideResult, showResult } from './bench_view';
import { copyField, onPress, required, setUnavailable } from './dom';
import { setUpTheme } from './theme';

const query = new URL(location.href).searchParams;
const [start, cancel] = [required('start', HTMLButtonElement), required('cancel', HTMLButtonElement)];
const state = required('run-state', HTMLElement);
const announcer = required('announcer', HTMLElement);
const form = required('options', HTMLFormElement);
let stop: (() => void) | undefined;
/** Held while it works: comlink ends the worker's side with a proxy that is collected. */
let remote: Remote<BenchWorkerApi> | undefined;

setUpTheme();
fillForm();
form.addEventListener('submit', (event) => {
  event.preventDefault();
  if (!stop) void run(queryOfForm());
});
onPress(cancel, () => stop?.());
onPress(required('copy', HTMLButtonElement), async () => {
  announcer.textContent = await copyField(required('report', HTMLTextAreaElement), 'The results are');
});
if (query.has('run') || query.has('post')) void unattended();

async function unattended(): Promise<void> {
  const outcome = await run(query);
  const post = query.get('post');
  if (!post) return;
  const trouble = await postedTo(post, JSON.stringify(outcome)).catch((error: Error) => error.message);
  if (trouble) say(`The results could not be posted: ${trouble}`);
  document.documentElement.dataset.state = trouble ? 'not-posted' : 'posted';
}

/** To this page's own origin and nowhere further, without what identifies the visitor. @returns why it was not taken. */
async function postedTo(address: string, body: string): Promise<string | undefined> {
  const to = new URL(address, location.href);
  if (to.origin !== location.origin) return `they go to this page’s own origin only, not to ${to.origin}.`;
  const headers = { 'Content-Type': 'application/json' };
  const { ok, status } = await fetch(to, { method: 'POST', headers, body, redirect: 'error', credentials: 'omit' });
  return ok ? undefined : `${to.pathname} answered ${status}.`;
}

/** Never rejects: an error is an outcome. */
async function run(options: URLSearchParams): Promise<object> {
  const started = performance.now();
  document.documentElement.dataset.state = 'running';
  setUnavailable(start, true);
  setUnavailable(cancel, false);
  hideResult();
  const about = { sluice: 'bench', userAgent: navigator.userAgent, options: String(withoutPost(options)) };
  try {
    const result = await inWorker(options, (text) => {
      state.textContent = `${text[0]!.toUpperCase()}${text.slice(1)} …`;
    });
    const seconds = Math.round((performance.now() - started) / 1000);
    say(`Done in ${seconds} s.`);
    const outcome = { ...about, seconds, ...result };
    required('report', HTMLTextAreaElement).value = JSON.stringify(outcome, null, 1);
    return outcome;
  } catch (error) {
    const { message } = error as Error;
    say(message);
    return { ...about, error: message };
  } finally {
    stop = undefined;
    setUnavailable(start, false);
    setUnavailable(cancel, true);
    document.documentElement.dataset.state = 'done';
  }
}

async function inWorker(options: URLSearchParams, onStep: (text: string) => void): Promise<BenchResult> {
  const request = requestFromQuery(options);
  const worker = new Worker(new URL(workerUrl, import.meta.url), { type: 'module', name: 'sluice bench' });
  remote = wrap<BenchWorkerApi>(worker);
  const ended = new Promise<never>((_, reject) => {
    worker.addEventListener('error', ({ message }) => reject(new Error(`The worker failed: ${message}`)));
    stop = () => reject(new Error('Cancelled.'));
  });
  try {
    const result = await Promise.race([remote.run(request, proxy(onStep), proxy(showResult)), ended]);
    showResult(result);
    return result;
  } finally {
    worker.terminate();
    remote = undefined;
  }
}

function withoutPost(options: URLSearchParams): URLSearchParams {
  const rest = new URLSearchParams(options);
  rest.delete('post');
  return rest;
}

function say(text: string): void {
  state.textContent = text;
  announcer.textContent = text;
}

function fieldOf(name: string): HTMLInputElement | HTMLSelectElement {
  return name === 'context' ? required(name, HTMLInputElement) : required(name, HTMLSelectElement);
}

/** What the address asks for shows in the form, which may change it; the rest of the query stays as it is. */
function fillForm(): void {
  for (const name of ['preset', 'context', 'precision']) {
    const field = fieldOf(name);
    const asked = query.get(name);
    if (asked === null) continue;
    const value = name === 'preset' && asked && !asked.startsWith('qwen') ? `qwen3.5-${asked}` : asked;
    // A select takes no value that it does not have; what there is not must be refused, and not measured as something else.
    if (value && field instanceof HTMLSelectElement && ![...field.options].some((option) => option.value === value))
      field.append(new Option(asked, value));
    if (value) field.value = value;
  }
  for (const what of ['profile', 'kernels']) if (query.has(what)) required('what', HTMLSelectElement).value = what;
}

function queryOfForm(): URLSearchParams {
  const options = withoutPost(query);
  for (const name of ['preset', 'context', 'precision']) {
    options.set(name, fieldOf(name).value.replaceAll(/\s/g, ''));
  }
  for (const what of ['profile', 'kernels']) {
    if (required('what', HTMLSelectElement).value === what) options.set(what, '');
    else options.delete(what);
  }
  return options;
}
