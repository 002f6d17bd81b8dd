import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type BrowserName, browserTitles, launch, notApplicable, poll, type TestPage } from './launch';
import type { OpenAiReport } from './openai_client';
import { startDevServer, type TestServer } from './servers';

let server: TestServer;
beforeAll(async () => {
  server = await startDevServer();
});
afterAll(() => server.close());

describe.each(['chromium', 'firefox'] as BrowserName[])('the openai client in %s', (name) => {
  const reason = notApplicable(name);
  let page: TestPage | undefined;
  afterAll(() => page?.close());

  test.skipIf(reason)(`${browserTitles[name]}: it holds a streamed conversation with the bundled model`, async () => {
    page = await launch(name);
    await page.open(`${server.url}test/browser/openai_client.html`);
    const report = await poll('the conversation', () => page!.evaluate(() => window.openAiReport), {
      timeoutMs: 280_000,
      everyMs: 500,
    });
    expect(report).not.toHaveProperty('broken');
    const { isolated, turns, whole, call, afterResult, errors, unhandled } = report as OpenAiReport;
    expect(isolated, 'no isolation headers').toBe(false);
    expect(turns).toHaveLength(3);
    for (const [i, { said, chunks, finish, promptTokens, completionTokens }] of turns.entries()) {
      expect(said).toMatch(/\w/);
      expect(chunks).toBeGreaterThan(1);
      expect(['stop', 'length']).toContain(finish);
      expect(completionTokens).toBeGreaterThan(0);
      if (i > 0) expect(promptTokens).toBeGreaterThan(turns[i - 1]!.promptTokens + turns[i - 1]!.completionTokens);
    }
    expect(whole).toBe(turns[2]!.said);
    const values = { city: expect.any(String) };
    expect(call).toEqual({ finish: 'tool_calls', content: null, name: 'get_weather', values });
    expect(afterResult.said).toMatch(/\w/);
    expect(afterResult.promptTokens).toBeGreaterThan(150); // the tool prompt, the call, its result
    expect(errors).toEqual({
      embeddings: { status: 400, code: 'unsupported', param: null },
      temperature: { status: 400, code: 'invalid_request', param: 'temperature' },
      'too long': { status: 400, code: 'context_length_exceeded', param: null },
    });
    expect(unhandled).toEqual([]);
  });
  if (reason) console.log(`skipped: ${browserTitles[name]}: ${reason}`);
});
