/**
 * An https page of the internet and a server on the visitor's own machine: Chromium asks first, and a page learns only that its request
 * failed. The page's server is declared public, because all servers of these tests are on loopback.
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type Browser, chromium } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findBrowsers } from '../../scripts/browsers.mjs';
import { type OpenAiServer, startOpenAiServer } from '../servers/openai_server';
import { CHROMIUM_FLAGS } from './launch';
import { repository } from './servers';

const read = (path: string) => readFileSync(join(repository, path));
const site = createServer(
  { key: read('test/fixtures/tls/localhost.key'), cert: read('test/fixtures/tls/localhost.crt') },
  (request, response) => {
    const script = request.url?.endsWith('.js');
    response.setHeader('Content-Type', script ? 'text/javascript' : 'text/html');
    response.end(script ? read(`dist/lib${request.url}`) : '<!doctype html><title>A page of the internet</title>');
  },
);
let origin: string;
let local: OpenAiServer;
let browser: Browser;

beforeAll(async () => {
  await new Promise<void>((resolve) => site.listen(0, '127.0.0.1', resolve));
  const { port } = site.address() as AddressInfo;
  origin = `https://127.0.0.1:${port}`;
  local = await startOpenAiServer();
  browser = await chromium.launch({
    executablePath: findBrowsers().chromium!.path,
    args: [...CHROMIUM_FLAGS, `--ip-address-space-overrides=127.0.0.1:${port}=public`],
  });
});
afterAll(async () => {
  await browser?.close();
  await local?.close();
  site.closeAllConnections();
  site.close();
});

async function ask(url: string, permissions: string[]): Promise<string> {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  await context.grantPermissions(permissions, { origin });
  const page = await context.newPage();
  await page.goto(origin);
  const said = await page.evaluate(async (address) => {
    // As text: the test runner rewrites an import that it sees.
    const load = new Function("return import('/sluice.js')") as () => Promise<typeof import('../../src/api')>;
    const { createEndpointEngine } = await load();
    return createEndpointEngine({ url: address }, { onFallback: () => true }).then(
      ({ info }) => `answered by ${info.model}`,
      ({ code, message }) => `${code}: ${message}`,
    );
  }, url);
  await context.close();
  return said;
}

test('blocked, it says what the visitor can do', async () => {
  const said = await ask(local.url, []);
  expect(said).toMatch(
    /^endpoint: The server on this machine, 127\.0\.0\.1:\d+, cannot be reached: the browser does not let this page/,
  );
  expect(said).toMatch(/site settings.*allow="loopback-network/);
  expect(local.asked).toEqual([]);
});

test('allowed, it is answered', async () => {
  expect(await ask(local.url, ['local-network-access'])).toBe('answered by echo-1');
});

test('allowed, but nobody there or no CORS: it names the settings of servers', async () => {
  local.options.cors = false;
  expect(await ask(local.url, ['local-network-access'])).toMatch(/^endpoint: .*from this https page.*OLLAMA_ORIGINS/);
  local.options.cors = true;
});
