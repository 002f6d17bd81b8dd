/** `npm run bench:peers` as a user types it, at the small shapes that a machine without a GPU gets. Installs the peers where nobody has. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const isLong = process.env.SLUICE_LONG === '1'; // one to three minutes, and a registry of packages

type Outcome = {
  adapter: { isCpu: boolean };
  products: { sluice: Record<'exact' | 'fast', { us: number }>[]; ort: { us?: number; error?: string }[] }[];
  models: { sluice: { precision: string; decodeTokensPerSecond: number }[]; wllama: { decodeTokensPerSecond?: number } };
};

function peers(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [join(root, 'test/bench/peers.mjs'), ...args], { timeout: 1_100_000 }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code ?? 1) : 0, stdout, stderr });
    });
  });
}

test.runIf(isLong)(
  'Sluice runs beside its peers, and a CPU’s figures are said to mean nothing',
  { timeout: 1_200_000 },
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sluice-peers-'));
    try {
      const { code, stdout, stderr } = await peers('--json', join(folder, 'peers.json'));
      expect(code, stderr).toBe(0);
      const { adapter, products, models }: Outcome = JSON.parse(readFileSync(join(folder, 'peers.json'), 'utf8'));
      expect(/No GPU: these figures mean nothing for speed\./.test(stdout)).toBe(adapter.isCpu);
      expect(products.length).toBeGreaterThan(0);
      for (const { sluice, ort } of products) {
        for (const { exact, fast } of sluice) expect(Math.min(exact.us, fast.us)).toBeGreaterThan(0);
        expect(Math.max(...ort.map(({ us = 0 }) => us)), JSON.stringify(ort)).toBeGreaterThan(0);
      }
      expect(stdout).toMatch(/Sluice exact [\d.]+ µs \([\d.]+ x\), fast [\d.]+ µs \([\d.]+ x\); onnxruntime-web [\d.]+ µs/);
      const speeds = [...models.sluice, models.wllama].map(({ decodeTokensPerSecond = 0 }) => decodeTokensPerSecond);
      expect(speeds).toHaveLength(3);
      expect(Math.min(...speeds)).toBeGreaterThan(0);
      expect(stdout).toMatch(/wllama on .*: [\d.]+ tokens\/s, .* \(Sluice exact [\d.]+ x, fast [\d.]+ x\)/);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
);
