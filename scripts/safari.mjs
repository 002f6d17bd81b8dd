/**
 * npm run test:safari: Safari itself, through safaridriver, on a Mac: the doctor's page, every check, then a conversation on the page for
 * Safari. Elsewhere nothing is run, which is said, and is no success: exit code 2. Exit code 1 is a failure.
 *   --url <address>   pages that are served elsewhere, in place of a fresh build
 *   --full            the ladder up to 4 GiB in place of 1 GiB
 * SLUICE_WEBDRIVER names another driver of the WebDriver protocol, and SLUICE_WEBDRIVER_CAPABILITIES what to ask it for, to try this script
 * in another browser.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { preview } from 'vite';
import { buildParts } from './build.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const usual = '/usr/bin/safaridriver';
const doctorLimitMs = 20 * 60_000;
const chatLimitMs = 3 * 60_000;

const driverPath = process.env.SLUICE_WEBDRIVER ?? usual;
const reason = whyNot();
if (reason) {
  console.error(`not run: ${reason}`);
  process.exitCode = 2;
} else {
  await main().catch((error) => {
    console.error(`failed: ${error.message}`);
    process.exitCode = 1;
  });
}

function whyNot() {
  if (process.env.SLUICE_WEBDRIVER) return existsSync(driverPath) ? undefined : `there is no ${driverPath}`;
  if (process.platform !== 'darwin') return 'Safari runs on a Mac only, and this is none';
  return existsSync(usual) ? undefined : `there is no ${usual}, which comes with Safari`;
}

async function main() {
  const { values } = parseArgs({ options: { url: { type: 'string' }, full: { type: 'boolean', default: false } } });
  const undo = [];
  try {
    const pages = values.url ?? (await serve(undo));
    const browser = await openBrowser(undo);
    const healthy = await examine(browser, new URL(`demo/doctor.html?json&memory=${values.full ? 4 : 1}`, pages).href);
    await converse(browser, new URL('demo/safari.html', pages).href);
    if (!healthy) throw new Error('the doctor found something wrong: see above');
    console.log('passed: the doctor, and a conversation');
  } finally {
    for (const step of undo.reverse()) await step();
  }
}

/** A fresh build, on a port of its own. */
async function serve(undo) {
  await buildParts(['site']);
  const server = await preview({
    root,
    configFile: false,
    build: { outDir: 'dist/site' },
    preview: { port: 0, host: 'localhost' },
  });
  undo.push(() => server.close());
  return server.resolvedUrls.local[0];
}

async function openBrowser(undo) {
  const port = await freePort();
  const driver = spawn(driverPath, portArguments(port), { stdio: 'ignore' });
  undo.push(() => driver.kill());
  const at = `http://localhost:${port}`;
  await until('the driver', 20_000, () =>
    fetch(`${at}/status`).then(
      (answer) => answer.ok || undefined,
      () => undefined,
    ),
  );
  const alwaysMatch = JSON.parse(process.env.SLUICE_WEBDRIVER_CAPABILITIES ?? '{ "browserName": "safari" }');
  const session = await ask(`${at}/session`, { capabilities: { alwaysMatch } }).catch((error) => {
    throw new Error(
      `${error.message}. Allow it once: sudo safaridriver --enable, and Safari › Settings › Developer › Allow remote automation.`,
    );
  });
  const path = `${at}/session/${session.sessionId}`;
  undo.push(() => fetch(path, { method: 'DELETE' }).catch(() => {}));
  console.log(`${session.capabilities.browserName} ${session.capabilities.browserVersion}`);
  return {
    open: (url) => ask(`${path}/url`, { url }),
    /** `script` is a function's body. */
    run: (script, ...args) => ask(`${path}/execute/sync`, { script, args }),
  };
}

async function examine({ open, run }, url) {
  await open(url);
  const isDone = async () => (await run('return document.documentElement.dataset.state')) === 'done' || undefined;
  await until('the doctor', doctorLimitMs, isDone);
  const report = JSON.parse(await run('return document.body.innerText'));
  if (report.error) throw new Error(report.error);
  for (const [id, { status, summary, problems }] of Object.entries(report.findings)) {
    console.log(`${status.padEnd(8)} ${id.padEnd(9)} ${summary}`);
    for (const problem of problems.filter((each) => each !== summary)) console.log(`           ${problem}`);
  }
  for (const { model, words } of report.verdicts) console.log(`${model.padEnd(16)} ${words}`);
  mkdirSync(join(root, 'dist'), { recursive: true });
  writeFileSync(join(root, 'dist/safari-report.json'), `${JSON.stringify(report, null, 1)}\n`);
  console.log('the report: dist/safari-report.json');
  return Object.values(report.findings).every(({ status }) => status !== 'failed');
}

async function converse({ open, run }, url) {
  await open(url);
  const state = () => run('return document.documentElement.dataset.state');
  const reach = (wanted) =>
    until(`the page to be ${wanted}`, chatLimitMs, async () => {
      const at = await state();
      if (at === 'failed' || at === 'unable')
        throw new Error(`the page for Safari: ${await run('return document.querySelector("#main").innerText')}`);
      return at === wanted || undefined;
    });
  await reach('ready');
  await run('document.querySelector("input[value=bundled]").click(); document.querySelector("#start").click()');
  await reach('running');
  await run('document.querySelector("#message").value = "Tell me a story about a fox."; document.querySelector("#send").click()');
  await until(
    'the reply',
    chatLimitMs,
    async () => (await run('return document.querySelector("#rate").textContent')) || undefined,
  );
  const reply = await run('return document.querySelector("#log li:last-child p").textContent');
  const rate = await run('return document.querySelector("#rate").textContent');
  if (!/^\w+ \w+ .*[.!?]/s.test(reply)) throw new Error(`the reply is no story: ${reply}`);
  console.log(`said at ${rate} ${reply.slice(0, 70)}…`);
}

/** One WebDriver command. @throws what the driver says went wrong. */
async function ask(url, body) {
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
  const { value } = await answer.json();
  if (!answer.ok) throw new Error(`${value.error}: ${value.message}`);
  return value;
}

async function until(what, limitMs, look) {
  const end = Date.now() + limitMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() > end) throw new Error(`${what}: not within ${limitMs / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

/** safaridriver wants two words, others one. */
function portArguments(port) {
  return driverPath === usual ? ['--port', String(port)] : [`--port=${port}`];
}

function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
