/** The memory and storage panels of the built page, with the real engine: what is planned, what runs, what is kept. */
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { ended, openChat, press, replyOf, send, statusOf, waitUntilReady, watchReply } from './chat_page';
import { launch, poll, type TestPage } from './launch';
import { repository, sealed, startStaticServer, type TestServer } from './servers';

const PROMPT = 'Tell me a story about a cat and a key.';

let server: TestServer;
let page: TestPage;
let story = '';

describe.each(['chromium', 'firefox'] as const)('memory and storage in %s', (name) => {
  beforeAll(async () => {
    server = await startStaticServer({ folder: join(repository, 'dist/site'), headers: sealed });
    page = await launch(name);
    await openChat(page, server.url, { maxTokens: 24 });
  });
  afterAll(async () => {
    await page?.close();
    await server?.close();
  });
  afterEach(() => {
    expect.soft(page.errors).toEqual([]);
    expect.soft(server.reports).toEqual([]);
  });

  test('a story without a budget of one’s own', async () => {
    story = await tell();
    expect(story.length).toBeGreaterThan(20);
  });

  test('the panel shows the plan that runs, as a bar and as a table that say the same', async () => {
    await press(page, 'open-memory');
    const panel = await panelWith('running');
    expect(panel.rows.map(([use]) => use)).toEqual(expect.arrayContaining([expect.stringMatching(/^Weights that stay/)]));
    expect(panel.pieces).toBe(panel.rows.length);
    expect(panel.total).toMatch(/^[\d.]+ MB of a budget of [\d.]+ [MG]B$/);
    expect(panel.stream).toBe('Nothing streams: all weights stay in GPU memory.');
    expect(panel.applicable).toBe(false);
  });

  test('a smaller budget is planned as the slider moves', async () => {
    await sliderReady();
    await setSlider(0);
    const panel = await panelWith('planned');
    expect(panel.stream).toMatch(/^[\d.]+ MB per token from this browser’s storage$/);
    expect(panel.rows.map(([use]) => use).join()).toContain('Ring for streamed weights');
    expect(panel.state).toMatch(/^Planned, not in use yet: /);
    expect(panel.applicable).toBe(true);
  });

  test('a budget that cannot work is refused with the smallest that does', async () => {
    await type('budget-text', '1 MB');
    const panel = await panelWith('not possible');
    expect(panel.message).toMatch(/needs at least \d+ bytes/);
    expect(panel.applicable).toBe(false);
    await type('budget-text', 'a lot');
    expect((await readPanel()).error).toMatch(/^Write a size such as 4 GB/);
  });

  test('applied, the same story is told within the budget', async () => {
    await sliderReady();
    await setSlider(0);
    const least = (await panelWith('planned')).budget;
    await press(page, 'memory-apply');
    await poll('the reload', async () => (await readPanel()).open === false || undefined);
    await waitUntilReady(page);
    expect(await tell()).toBe(story);
    await press(page, 'open-memory');
    const panel = await panelWith('running');
    expect(panel.total).toContain(`of a budget of ${(bytesOf(least) / 1e6).toFixed(1)} MB`);
    expect(bytesOf((await statusOf(page)).memory!)).toBeLessThanOrEqual(bytesOf(least) * 1.05);
    await closeDialog();
  });

  test('a page back from the back/forward cache tells it again, if need be with a model that one press loads anew', async () => {
    await page.evaluate(() => {
      // The events that a browser sends: no automated browser keeps a page in that cache.
      dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }));
      dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }));
    });
    const text = await tell();
    if (text !== story) {
      expect(await page.evaluate(() => document.querySelector('[data-testid=error]')?.textContent)).toMatch(
        /conversation is kept/,
      );
      await press(page, 'notice-primary');
      await watchReply(page, (reply) => ended(reply) && reply.text !== '');
    }
    expect((await replyOf(page)).text).toBe(story);
  });

  test('a budget that is too small for a load offers the one that works', async () => {
    await page.evaluate(() => localStorage.setItem('sluice.settings', JSON.stringify({ seed: 1, maxTokens: 8, gpuBudget: 1e6 })));
    await page.open(server.url);
    const label = await poll('the refusal', () =>
      page.evaluate(() => {
        const error = document.querySelector<HTMLElement>('[data-testid=error]')!;
        return error.hidden ? undefined : document.querySelector('[data-testid=notice-primary]')!.textContent!;
      }),
    );
    expect(label).toBe('Use the smallest budget that works');
    await press(page, 'notice-primary');
    await waitUntilReady(page);
    expect((await tell()).length).toBeGreaterThan(0);
  });

  test('the storage panel lists the model, and refuses to delete what runs', async () => {
    await press(page, 'open-picker');
    await press(page, 'picker-storage');
    const [name, size] = await poll('the list', () =>
      page.evaluate(() => {
        const row = document.querySelector('[data-testid=stored-model]');
        return row
          ? [row.querySelector('h3')!.textContent, row.querySelector('[data-testid=stored-size]')!.textContent]
          : undefined;
      }),
    );
    expect(name).toBe('Story model');
    expect(size).toMatch(/^7\.\d MB$/);
    await press(page, 'stored-delete');
    await press(page, 'stored-confirm');
    const refusal = await poll('the refusal', () =>
      page.evaluate(() => document.querySelector('[data-testid=stored-error]')?.textContent || undefined),
    );
    expect(refusal).toMatch(/in use|open|another tab/i);
    expect(await page.evaluate(() => document.querySelectorAll('[data-testid=stored-model]').length)).toBe(1);
    await closeDialog();
  });

  test('a second visit reads the model from storage, not from the network', async () => {
    await page.open(server.url);
    await waitUntilReady(page);
    const before = page.requests.length;
    await page.open(server.url);
    await waitUntilReady(page);
    const weights = page.requests.slice(before).filter((url) => url.endsWith('.safetensors'));
    expect(weights).toEqual([]);
  });
});

async function tell(): Promise<string> {
  await press(page, 'new-chat');
  await send(page, PROMPT);
  return (await watchReply(page, ended)).at(-1)!.text;
}

type Panel = Awaited<ReturnType<typeof readPanel>>;

function readPanel() {
  return page.evaluate(() => {
    const text = (id: string) => document.querySelector(`[data-testid=${id}]`)?.textContent ?? '';
    return {
      open: document.querySelector<HTMLDialogElement>('#memory')!.open,
      badge: text('plan-badge'),
      total: text('plan-total'),
      stream: text('plan-stream'),
      state: text('plan-state'),
      message: text('plan-message'),
      error: text('budget-error'),
      budget: document.querySelector<HTMLInputElement>('#budget-text')!.value,
      pieces: document.querySelectorAll('#plan-bar > *').length,
      rows: Array.from(document.querySelectorAll('#plan-rows tr'), (row) =>
        Array.from(row.children, (cell) => cell.textContent!),
      ),
      applicable: document.querySelector('[data-testid=memory-apply]')!.getAttribute('aria-disabled') !== 'true',
    };
  });
}

function panelWith(badge: string): Promise<Panel> {
  return poll(`the panel to say ${badge}`, async () => {
    const panel = await readPanel();
    return panel.badge === badge ? panel : undefined;
  });
}

function sliderReady(): Promise<true> {
  return poll('the slider', () =>
    page.evaluate(() => !document.querySelector<HTMLInputElement>('#budget-slider')!.disabled || undefined),
  );
}

function setSlider(value: number): Promise<void> {
  return page.evaluate((step) => {
    const slider = document.querySelector<HTMLInputElement>('#budget-slider')!;
    slider.value = String(step);
    slider.dispatchEvent(new Event('input', { bubbles: true }));
  }, value);
}

function type(id: string, text: string): Promise<void> {
  return page.evaluate(
    ([testId, value]) => {
      const input = document.querySelector<HTMLInputElement>(`[data-testid=${testId}]`)!;
      input.value = value!;
      input.dispatchEvent(new Event('input', { bubbles: true }));
    },
    [id, text],
  );
}

function closeDialog(): Promise<void> {
  return page.evaluate(() => document.querySelector<HTMLDialogElement>('dialog[open]')!.close());
}

function bytesOf(text: string): number {
  const [, figure, unit] = /([\d.]+) (k|M|G)B/.exec(text)!;
  return Number(figure) * { k: 1e3, M: 1e6, G: 1e9 }[unit as 'k' | 'M' | 'G'];
}
