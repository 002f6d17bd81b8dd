import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { AdaptersReport } from './adapters';
import { browserTitles, launch, poll, type TestPage } from './launch';
import { startDevServer, type TestServer } from './servers';

let server: TestServer;
beforeAll(async () => {
  server = await startDevServer();
});
afterAll(() => server.close());

describe.each(['chromium', 'firefox'] as const)(`the adapters in %s`, (name) => {
  let page: TestPage;
  let report: AdaptersReport;
  beforeAll(async () => {
    page = await launch(name);
    await page.open(`${server.url}test/browser/adapters.html`);
    const found = await poll('the conversations', () => page.evaluate(() => window.adaptersReport), {
      everyMs: 500,
      timeoutMs: 240_000,
    });
    expect(found).not.toHaveProperty('broken');
    report = found as AdaptersReport;
  }, 300_000);
  afterAll(() => page?.close());

  test(`${browserTitles[name]}: no isolation, nothing unhandled`, () => {
    expect(report.isolated).toBe(false);
    expect(report.unhandled).toEqual([]);
  });

  test('the AI SDK streams a conversation of several turns', () => {
    const [first, second] = report.sdk.turns;
    for (const { said, pieces } of report.sdk.turns) {
      expect(said).toMatch(/\w/);
      expect(pieces).toBeGreaterThan(1);
    }
    expect(second!.promptTokens).toBeGreaterThan(first!.promptTokens! + 12);
  });

  test('its structured output, tools, abort and refusals', () => {
    const { object, tool, aborted, refused } = report.sdk;
    expect(object).toEqual({ animal: expect.stringMatching(/^(fox|owl)$/), legs: expect.any(Number) });
    const { city } = tool!.input as { city: string };
    expect(tool).toEqual({ input: { city }, output: `The sun is out in ${city}.` });
    expect(['Paris', 'Rome']).toContain(city);
    expect(aborted.parts.at(-1)).toBe('abort');
    expect(aborted.said).toBeLessThan(20);
    expect(refused).toBe('EngineError');
  });

  test('a chat of useChat’s kind over the transport', () => {
    const { chat, chatStatus } = report.sdk;
    expect(chat.map(({ role }) => role)).toEqual(['user', 'assistant', 'user', 'assistant']);
    for (const { text } of chat) expect(text).toMatch(/\w/);
    expect(chatStatus).toBe('ready');
  });

  test('the Prompt API streams a conversation of several turns', () => {
    const { turns, usage, availability, progress } = report.promptApi;
    for (const { said, pieces } of turns) {
      expect(said).toMatch(/\w/);
      expect(pieces).toBeGreaterThan(1);
    }
    expect(usage[0]).toBeGreaterThan(0);
    expect(usage).toEqual([...usage].sort((a, b) => a - b));
    expect(['downloadable', 'available']).toContain(availability[0]);
    expect(availability[1]).toBe('available');
    expect(progress.at(-1)).toBe(1);
  });

  test('its constraint, clone, abort, quota and end', () => {
    const { held, clone, aborted, afterCancel, tooLong, destroyed } = report.promptApi;
    expect(held).toEqual({ animal: expect.stringMatching(/^(fox|owl)$/) });
    expect(clone).toMatch(/\w/);
    expect(clone).not.toMatch(/^I am too small/);
    expect(aborted).toBe('AbortError');
    expect(JSON.parse(afterCancel)).toEqual({ animal: expect.stringMatching(/^(fox|owl)$/) });
    expect(tooLong).toBe('QuotaExceededError');
    expect(destroyed).toBe('InvalidStateError');
  });

  test('no console errors', () => expect(page.errors).toEqual([]));
});
