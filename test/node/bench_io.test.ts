/** The bare loops of test/bench/io.mjs run, on files small enough to tell nothing about speed. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';

const script = fileURLToPath(new URL('../bench/io.mjs', import.meta.url));
const [firstBytes, secondBytes] = [5_000_003, 1_234_567]; // neither whole pieces nor whole words
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-io-'));
  const random = (length: number) => Uint8Array.from({ length }, (_, i) => Math.imul(i, 2654435761) >>> 23);
  writeFileSync(join(folder, 'model-00001-of-00002.safetensors'), random(firstBytes));
  writeFileSync(join(folder, 'model-00002-of-00002.safetensors'), random(secondBytes));
  writeFileSync(join(folder, 'config.json'), '{}');
});
afterAll(() => rmSync(folder, { recursive: true }));

function io(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [script, ...args], (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr });
    });
  });
}

type Row = { gbPerSecond: number; passes: number[] };
const plausible = (rows: Row[]) => rows.every(({ gbPerSecond, passes }) => gbPerSecond > 0 && passes.length === 1);

test('reads all shards of a folder and uploads them both ways, checked on the GPU', async () => {
  const json = join(folder, 'out.json');
  const { code, stdout, stderr } = await io('--file', folder, '--gpu', '--repeat', '1', '--json', json);
  expect(stderr).toContain('reads, page-cached');
  expect(code).toBe(0);
  const report = JSON.parse(stdout);
  expect(JSON.parse(readFileSync(json, 'utf8'))).toEqual(report);
  expect(report).toMatchObject({ files: 2, bytesPerPass: firstBytes + secondBytes, repeat: 1, threads: 10 });
  expect(report.cached.rows.length).toBe(12);
  expect(plausible(report.cached.rows)).toBe(true);
  if (report.cold.possible) expect(plausible(report.cold.rows)).toBe(true);
  else expect(report.cold.how).toMatch(/cannot be emptied/);
  expect(report.gpu.bytesPerPass).toBe(firstBytes - 3 + secondBytes - 3);
  expect(report.gpu.upload.map(({ path }: { path: string }) => path)).toEqual([
    ...Array(4).fill('writeBuffer'),
    ...Array(4).fill('mapped ring'),
  ]);
  expect(plausible([...report.gpu.upload, ...report.gpu.readAndUpload])).toBe(true);
});

test('one file, no more of it than asked for', async () => {
  const { stdout } = await io('--file', join(folder, 'model-00001-of-00002.safetensors'), '--bytes', '2MB', '--repeat', '1');
  expect(JSON.parse(stdout)).toMatchObject({ files: 1, bytesPerPass: 2_000_000 });
});

test.each([
  [[], '--file is missing'],
  [['--file', '/nowhere/at/all'], 'no such file'],
  [['--file', tmpdir(), '--bytes', 'many'], '--bytes must be'],
])('%j: one line of what is wrong', async (args, message) => {
  const { code, stderr } = await io(...args);
  expect(code).toBe(1);
  expect(stderr).toContain(message);
  expect(stderr.trim().split('\n').length).toBe(1);
});
