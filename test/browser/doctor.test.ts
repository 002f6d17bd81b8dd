/** The doctor's page: sound on a sound device, finds a wrong kernel, outlives a lost device, and a dead tab is told of at the next visit. */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { rmsNormCases } from '../../src/cases/rms_norm';
import { checkIds, type Report } from '../../src/doctor/report';
import { reportText } from '../../src/doctor/report_text';
import { accessibilityProblems } from './axe';
import { type BrowserName, browserTitles, launch, poll, type TestPage } from './launch';
import { repository, sealed, startStaticServer, type TestServer } from './servers';

/** Every kernel runs in kernels.test.ts, through the same code. */
const few = 'only=rms_norm:';

const site = { folder: join(repository, 'dist/site'), basePath: '/some/path/' };
let server: TestServer;
/** Its pages may do nothing that their Content-Security-Policy does not name. */
let strict: TestServer;
beforeAll(async () => {
  server = await startStaticServer(site);
  strict = await startStaticServer({ ...site, headers: sealed });
});
afterAll(async () => {
  await server?.close();
  await strict?.close();
});

const browsers: BrowserName[] = ['chromium', 'firefox'];

describe.each(browsers)('the doctor in %s', (name) => {
  let page: TestPage;
  beforeAll(async () => {
    page = await launch(name);
  });
  afterAll(() => page?.close());

  test(`${browserTitles[name]}: the checks, unattended, as JSON`, async () => {
    const report = await examined(page, `json&${few}`);
    const failed = Object.entries(report.findings).filter(([, { status }]) => status === 'failed');
    expect(failed).toEqual([]);
    expect(Object.keys(report.findings)).toEqual([...checkIds]);
    expect(strict.reports).toEqual([]);
    expect(report).toMatchObject({ state: 'done', verdicts: { length: 9 } });
    const { kernels, model, chat, disk, memory, device } = report.findings;
    expect(kernels!.facts.ran).toBeGreaterThan(3);
    expect(model!.facts.prompts.map(({ tokensEqual }) => tokensEqual)).toEqual([12, 12, 12, 12]);
    expect(chat!.facts.replies.map(({ equal }) => equal)).toEqual([true, true]);
    expect(disk!.facts).toMatchObject({ bytes: 2 ** 24, size: 'small, beside a software adapter' });
    for (const rate of ['writeGBps', 'randomGBps', 'readGBps', 'warmRandomGBps'] as const)
      expect({ rate, value: disk!.facts[rate] }).toEqual({ rate, value: expect.toSatisfy(isRate) });
    expect(disk!.summary).toContain('16 MiB (small, beside a software adapter)');
    expect(memory!.facts).toMatchObject({ survivedBytes: 2 ** 28, end: 'as far as asked' });
    expect(device!.facts.limits.maxBufferSize).toBeGreaterThanOrEqual(2 ** 28);
    expectProbes(report);
    const text = JSON.stringify(report);
    for (const secret of ['127.0.0.1', '/some/path', 'json&', '://']) expect(text).not.toContain(secret);
    expect(page.errors).toEqual([]);
  });

  test('what fails with an address in its words is told without it, and so is what the address bar asked for', async () => {
    const secrets = ['https://user.example/private/x', '/home/someone/y', 'localhost:5173/z'];
    const asked = encodeURIComponent(secrets.join(' '));
    const report = await examined(page, `json&checks=kernels&only=${asked}&plant=${encodeURIComponent(`a,${secrets[0]},b`)}`);
    expect(report.findings.kernels).toMatchObject({ status: 'failed', problems: { length: 1 } });
    expect(report).toMatchObject({ only: '(unknown)', planted: '(unknown)' });
    const text = JSON.stringify(report);
    for (const secret of [...secrets, 'user.example', 'someone', '5173']) expect(text).not.toContain(secret);
  });

  test('a wrong kernel is found, named, and shown with its numbers', async () => {
    const report = await examined(page, `json&checks=kernels&${few}&plant=rms_norm,inverseSqrt,sqrt`);
    const { status, summary, facts } = report.findings.kernels!;
    expect({ status, summary }).toEqual({ status: 'failed', summary: expect.stringContaining('are wrong: rms_norm') });
    expect(new Set(facts.failed.map(({ kernel }) => kernel))).toEqual(new Set(['rms_norm'])); // not gated_rms_norm, which ran as well
    expect(facts.failed.length).toBeGreaterThan(3);
    expect(facts.failed.length).toBeLessThan(facts.ran);
    expect(facts.failed[0]).toMatchObject({
      kernel: 'rms_norm',
      what: expect.stringMatching(/over .*got .* want .*<- first bad/),
    });
    expect(report.planted).toBe("rms_norm with 'sqrt' for 'inverseSqrt'");
    const text = reportText(report);
    const { kernel, name: shape, what } = facts.failed[0]!;
    const { kernel: stem, name: caseName } = rmsNormCases.find(({ name }) => name === shape)!;
    for (const told of [report.planted!, `build ${report.build}`, report.userAgent, `${stem}: ${caseName}: ${what}`])
      expect(text).toContain(told);
    expect(shape).toMatch(/\d x \d/);
    expect(report.build).toMatch(/^\d+\.\d+\.\d+ [0-9a-f]{7,}$/);
    expect(report.adapter).toMatchObject({ isCpu: true, subgroups: name === 'chromium', f16: false });
    const named = name === 'firefox' ? 'not named by the browser' : '.*swiftshader'; // Firefox tells no page
    expect(text).toMatch(new RegExp(`^Adapter: ${named} \\(software\\); uses .*kernels without barriers`, 'm'));
    expect(text).toContain('Asked for: checks = kernels; only = rms_norm:; plant = rms_norm,inverseSqrt,sqrt\n');
    // What the report says is enough to see the same again, and one case of it alone.
    const again = await examined(page, `json&${new URLSearchParams(report.again)}`);
    expect(byName(again)).toEqual(byName(report));
    const alone = await examined(page, `json&${new URLSearchParams({ ...report.again, only: `${kernel}: ${shape}` })}`);
    expect(alone.findings.kernels!.facts).toMatchObject({ ran: 1, failed: [{ kernel, name: shape, what }] });
  });

  test('what an earlier visit left in the private files is gone at the next, and nothing lies beside the one folder', async () => {
    await page.evaluate(async () => {
      const top = await navigator.storage.getDirectory();
      let folder = top;
      for (const name of ['sluice', 'v1', 'doctor']) folder = await folder.getDirectoryHandle(name, { create: true });
      await folder.getFileHandle('probe', { create: true });
      for (const name of ['sluice-doctor-probe', 'sluice-probe']) await top.getFileHandle(name, { create: true });
    });
    const report = await examined(page, 'json&checks=browser');
    expect(report.findings.browser!.facts.has.privateFiles).toBe(true);
    const found = await page.evaluate(async () => {
      type Listing = AsyncIterable<[string, FileSystemHandle]>;
      const top = await navigator.storage.getDirectory();
      const names: string[] = [];
      for await (const [name] of top as unknown as Listing) names.push(name);
      let folder = top;
      for (const name of ['sluice', 'v1', 'doctor']) folder = await folder.getDirectoryHandle(name);
      for await (const [name] of folder as unknown as Listing) names.push(`doctor/${name}`);
      return names;
    });
    expect(found).toEqual(['sluice']);
  });

  test('a device lost in the ladder is told, and the checks after it get another one', async () => {
    const report = await examined(page, 'json&checks=device,memory&plant=lose-device,150000000');
    expect(report.findings.memory).toMatchObject({
      status: 'noted',
      facts: { end: 'device lost', survivedBytes: 2 ** 27, recovered: true },
    });
  });
});

describe('in Chromium, where processes can be made to die', () => {
  let page: TestPage;
  beforeAll(async () => {
    page = await launch('chromium');
  });
  afterAll(() => page?.close());

  test('a fault that changes nothing is told, whatever the reason', async () => {
    const idle = async (query: string) => (await examined(page, `json&${query}`)).findings;
    const nothing = (why: string) => ({ status: 'failed', problems: [expect.stringContaining(why)] });
    const kernels = `checks=kernels&${few}`;
    expect((await idle(`${kernels}&plant=rms_norm,tanh,exp`)).kernels).toMatchObject(nothing("rms_norm has no 'tanh'"));
    expect((await idle(`${kernels}&plant=no_kernel,sqrt,exp`)).kernels).toMatchObject(nothing('no kernel of that name'));
    expect((await idle(`${kernels}&plant=rms_norm,sqrt,sqrt`)).kernels).toMatchObject(nothing('was not put in'));
    const refused = await examined(page, 'json&checks=browser,memory&plant=rms_norm,sqrt,exp');
    expect(refused).toEqual({ sluice: 'doctor', error: expect.stringContaining('kernels, model, products') });
    const { memory } = await idle('checks=memory&memory=0.125&plant=lose-device,999999999999');
    expect(memory).toMatchObject({ status: 'noted', problems: [expect.stringContaining('never came')] });
  });

  test('the GPU’s process dies in the ladder: the page goes on and says so', async () => {
    await climbing(page);
    await page.crashGpu();
    await untilDone(page);
    const said = await page.evaluate(() => document.querySelector('[data-check=memory]')!.textContent);
    expect(said).toMatch(/The device was lost beyond .*, and the browser gave another one/);
  });

  test('the tab dies in the ladder: the next visit says how far it came, and goes half as far', async () => {
    await climbing(page);
    await page.crash();
    await page.open(`${server.url}demo/doctor.html?checks=browser`);
    const { text, limit, options, report } = await page.evaluate(() => ({
      text: document.querySelector<HTMLElement>('#died:not([hidden])')?.textContent,
      limit: document.querySelector<HTMLSelectElement>('#memory-limit')!.value,
      options: Array.from(document.querySelectorAll<HTMLOptionElement>('#memory-limit option'), ({ value }) => Number(value)),
      report: document.querySelector<HTMLTextAreaElement>('#report')!.value,
    }));
    expect(text).toMatch(/while \d+ (MiB|GiB) of GPU memory were asked for/);
    const half = reportIn(report).died!.heldBytes! / 2;
    expect(Number(limit) * 2 ** 30).toBeLessThanOrEqual(half);
    expect(Number(limit)).toBe(Math.max(...options.filter((gibibytes) => gibibytes * 2 ** 30 <= half)));
    expect(report).toContain("An earlier visit died during 'memory'");
    await start(page);
    await untilDone(page);
    const after = await page.evaluate(() => document.querySelector<HTMLTextAreaElement>('#report')!.value);
    expect(reportIn(after).died).toMatchObject({ check: 'memory', heldBytes: expect.any(Number) });
  });

  test('a visitor who leaves during a run is told of no death', async () => {
    await climbing(page);
    await page.open('about:blank');
    await page.open(`${server.url}demo/doctor.html?checks=browser`);
    expect(await page.evaluate(() => document.querySelector<HTMLElement>('#died')!.hidden)).toBe(true);
    await start(page);
    await untilDone(page);
    // One check of ten is no proof that Sluice works.
    expect(await page.evaluate(() => document.querySelector('#run-state')!.textContent)).toContain('in what was checked');
  });

  test('the theme’s button says which one is on, and no page is drawn before its script has set it', async () => {
    const named = () => page.evaluate(() => document.querySelector('#theme-name')!.textContent);
    const press = () => page.evaluate(() => document.querySelector<HTMLElement>('#theme')!.click());
    expect(await named()).toBe('Automatic');
    await press();
    expect(await named()).toBe('Light');
    await press();
    await press();
    expect(await named()).toBe('Automatic');
    for (const name of ['index.html', 'demo/doctor.html', 'demo/bench.html', 'demo/safari.html'])
      expect(readFileSync(join(site.folder, name), 'utf8')).toContain('<script type="module" blocking="render"');
  });

  test('a cancelled run stops at once and keeps what it found', async () => {
    await page.open(`${server.url}demo/doctor.html?checks=browser,kernels`);
    await start(page);
    await poll('the first kernels', () =>
      page.evaluate(() => /\b\d+ of/.test(document.querySelector('#run-state')!.textContent!) || undefined),
    );
    await page.evaluate(() => document.querySelector<HTMLElement>('#cancel')!.click());
    await untilDone(page);
    const report = reportIn(await page.evaluate(() => document.querySelector<HTMLTextAreaElement>('#report')!.value));
    expect(report).toMatchObject({ state: 'cancelled', findings: { browser: { status: 'passed' } }, verdicts: [] });
  });

  test('by keyboard alone: start, and copy', async () => {
    await page.open(`${server.url}demo/doctor.html?checks=browser,device,memory`);
    expect(await accessibilityProblems(page)).toEqual([]);
    await pressUntilFocused(page, 'start');
    await page.press('Enter');
    await untilDone(page);
    await pressUntilFocused(page, 'copy');
    await page.press('Enter');
    await poll('the word of it', () =>
      page.evaluate(() => /copied|selected/.test(document.querySelector('#announcer')!.textContent!) || undefined),
    );
  });

  test.each(['light', 'dark'] as const)('looks right and is accessible when done, %s', async (scheme) => {
    await page.setColorScheme(scheme);
    mkdirSync(join(repository, 'test/screenshots'), { recursive: true });
    for (const width of [390, 900, 1600]) {
      await page.setViewport({ width, height: 1000 });
      for (const [what, selector] of Object.entries({
        top: 'body',
        verdicts: '#verdict-section',
        figures: '[data-check=device]',
      })) {
        await page.evaluate((each) => {
          for (const details of document.querySelectorAll('details')) details.open = each === '[data-check=device]';
          document.querySelector(each)!.scrollIntoView();
        }, selector);
        await page.screenshot(join(repository, `test/screenshots/doctor-${what}-${width}-${scheme}.png`));
      }
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      expect({ width, overflow }).toEqual({ width, overflow: 0 });
    }
    expect(await accessibilityProblems(page)).toEqual([]);
  });
});

const isRate = (value: unknown): boolean => typeof value === 'number' && value > 0 && Number.isFinite(value);

/** What start-up is to know of a device is in the report, each figure of it. */
function expectProbes({ findings }: Report): void {
  const { browser, device, speed, products, upload } = findings;
  expect(browser!.facts.wgslFeatures).toContain('packed_4x8_integer_dot_product');
  expect(Object.keys(device!.facts.limits).length).toBeGreaterThan(25);
  expect(Object.keys(device!.facts)).toEqual(
    expect.arrayContaining(['vendor', 'architecture', 'description', 'subgroupSizes', 'features']),
  );
  const { readGBps, copyGBps, dispatchUs, encodeUs, roundTripMs, readbackMs, subgroupsReduce, f16Right } = speed!.facts;
  for (const { value } of [readGBps, copyGBps, dispatchUs, roundTripMs]) expect(value).toSatisfy(isRate);
  expect(encodeUs.value).toBeGreaterThanOrEqual(0); // a browser's clock may be coarser than that
  expect(readbackMs).toSatisfy(isRate);
  expect(subgroupsReduce).toBe(device!.facts.subgroups || undefined);
  expect(f16Right).toBe(device!.facts.f16 || undefined);
  expect(Object.keys(upload!.facts.write)).toEqual(['1', '2', '4', '8', '16']);
  expect(Object.keys(upload!.facts.mapped)).toEqual(['1', '4', '8']);
  for (const rate of [...Object.values(upload!.facts.write), ...Object.values(upload!.facts.mapped)])
    expect(rate).toSatisfy(isRate);
  expect(upload!.facts.leftOut).toEqual({});
  expect(products!.facts.rows.length).toBeGreaterThan(0);
  for (const { best, ofRead } of products!.facts.rows)
    expect({ best, ofRead }).toEqual({ best: expect.any(String), ofRead: expect.toSatisfy(isRate) });
  expect(products!.facts.ofRead).toSatisfy(isRate);
}

const byName = ({ findings }: Report) => findings.kernels!.facts.failed.sort((a, b) => a.name.localeCompare(b.name));

/** Opens the page so that it runs by itself, and reads the JSON that it leaves. */
async function examined(page: TestPage, query: string): Promise<Report> {
  await page.open(`${strict.url}demo/doctor.html?${query}`);
  await untilDone(page);
  return JSON.parse(await page.evaluate(() => document.body.innerText)) as Report;
}

async function untilDone(page: TestPage): Promise<void> {
  const ended = () =>
    page.evaluate(() => ['done', 'cancelled'].includes(document.documentElement.dataset.state ?? '') || undefined);
  await poll('the check', ended, { timeoutMs: 240_000 }).catch(async (error: Error) => {
    const at = await page.evaluate(() => document.querySelector('#run-state')?.textContent);
    throw new Error(`${error.message}; it was at: ${at}. ${page.errors.join('; ')}`);
  });
}

const start = (page: TestPage) => page.evaluate(() => document.querySelector<HTMLElement>('#start')!.click());

/** A ladder of many small steps, some way up. */
async function climbing(page: TestPage): Promise<void> {
  await page.open(`${server.url}demo/doctor.html?checks=memory&memory=3`);
  await start(page);
  const far = () =>
    page.evaluate(
      () => /holding (?:[2-9]\d\d MiB|[12].* GiB)/.test(document.querySelector('#run-state')!.textContent!) || undefined,
    );
  await poll('the ladder', far, { everyMs: 5 });
}

async function pressUntilFocused(page: TestPage, id: string): Promise<void> {
  for (let i = 0; i < 40; i++) {
    if ((await page.evaluate(() => document.activeElement?.id)) === id) return;
    await page.press('Tab');
  }
  throw new Error(`Tab never came to #${id}`);
}

function reportIn(text: string): Report {
  return JSON.parse(/```json\n(.*)\n```/s.exec(text)![1]!) as Report;
}
