/** Pages with <sluice-chat> as site owners write them, and the component as a visitor sees it: by what is in its shadow. */
import { poll, type TestPage } from './launch';

/** Keeps what happens, from before the component's own script runs. */
export const RECORDER = `
  window.recorded = [];
  const note = (text) => recorded.push(text);
  document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => {
    if (!blockedURI.endsWith('/favicon.ico')) note('violation: ' + violatedDirective + ' ' + blockedURI); // browsers ask by themselves, some late
  });
  addEventListener('unhandledrejection', ({ reason }) => note('unhandled: ' + reason));
  for (const chat of document.querySelectorAll('sluice-chat')) {
    chat.request = { temperature: 0, max_tokens: 12 };
    for (const type of ['ready', 'done', 'error'])
      chat.addEventListener(type, ({ detail }) => note((chat.id || 'chat') + ' ' + type + ': ' + (detail.error?.message ?? detail.finishReason ?? detail.answeredBy.place)));
    for (const type of ['progress', 'token'])
      chat.addEventListener(type, () => { window[type] = (window[type] ?? 0) + 1; });
  }
`;

declare global {
  interface Window {
    recorded: string[];
    token?: number;
    progress?: number;
  }
}

/** `script`: the component's address; `body`: elements. recorder.js is served beside the page, because the policy allows no inline script. */
export function pageWith(script: string, body: string): string {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>A page</title>
<script defer src="recorder.js"></script><script type="module" src="${script}"></script>
<body><main><h1>An article</h1>${body}<p>More of it.</p></main></body></html>`;
}

/**
 * What went wrong, but for what a strict policy makes of it: browsers look for an icon by themselves, and the only way to learn whether
 * WebAssembly is allowed is to try, which Firefox reports.
 */
export const problemsOf = (page: TestPage): string[] =>
  page.errors.filter((error) => !/favicon\.ico|blocked WebAssembly/.test(error));

export type Seen = {
  state: string;
  busy: boolean;
  turns: { role: string; text: string; host?: string }[];
  /** What is written in each part. */
  parts: Record<string, string>;
  draft: string;
  recorded: string[];
};

/** Undefined before the component's script has run. */
export function see(page: TestPage, selector = 'sluice-chat'): Promise<Seen | undefined> {
  return page.evaluate((wanted) => {
    const chat = document.querySelector(wanted) as (HTMLElement & Pick<Seen, 'state' | 'busy' | 'turns'>) | null;
    if (!chat?.shadowRoot) return undefined;
    const shown = [...chat.shadowRoot.querySelectorAll<HTMLElement>('[part]')].filter((part) => part.checkVisibility());
    return {
      state: chat.state,
      busy: chat.busy,
      turns: chat.turns,
      parts: Object.fromEntries(shown.map((part) => [part.getAttribute('part')!, part.textContent ?? ''])),
      draft: chat.shadowRoot.querySelector('textarea')!.value,
      recorded: window.recorded,
    };
  }, selector);
}

/** Waits until what is seen is `enough`. */
export async function waitFor(page: TestPage, what: string, enough: (seen: Seen) => boolean, selector?: string): Promise<Seen> {
  let last: Seen | undefined;
  const look = async () => {
    last = await see(page, selector);
    return last && enough(last) ? last : undefined;
  };
  return poll(what, look, { timeoutMs: 30_000, everyMs: 100 }).catch((error: Error) => {
    throw new Error(`${error.message}. Seen: ${JSON.stringify(last)}. ${page.errors.join('; ')}`);
  });
}

export async function send(page: TestPage, text: string, selector = 'sluice-chat'): Promise<void> {
  await page.evaluate(
    ([wanted, message]) => (document.querySelector(wanted!) as unknown as { send(text: string): void }).send(message!),
    [selector, text],
  );
}

/** Clicks the button that says `label`. */
export async function press(page: TestPage, label: string, selector = 'sluice-chat'): Promise<void> {
  await page.evaluate(
    ([wanted, text]) => {
      const buttons = [...document.querySelector(wanted!)!.shadowRoot!.querySelectorAll('button')];
      buttons.find((button) => button.textContent === text && button.checkVisibility())!.click();
    },
    [selector, label],
  );
}

export const answered = (count: number) => (seen: Seen) => !seen.busy && seen.turns.length === count;
