/** What a process takes of memory, seen from outside it: by the driver of an NVIDIA GPU, and by Linux. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';

const mib = 2 ** 20;

/** Whole GPUs' memory in use, bytes; null without nvidia-smi. */
export async function usedBytes() {
  const text = await nvidiaSmi('--query-gpu=memory.used', '--format=csv,noheader,nounits');
  if (text === null) return null;
  const counts = text.trim().split('\n').map(Number);
  return counts.every(Number.isFinite) ? counts.reduce((sum, count) => sum + count, 0) * mib : null;
}

/** What `nvidia-smi -q -d PIDS` says of one process, bytes: graphics and compute alike, of all GPUs; null where it is not listed. */
export function listedBytes(text, pid) {
  const listed = text.split(/Process ID\s*:/).slice(1);
  const own = listed.filter((part) => Number.parseInt(part, 10) === pid);
  const counts = own.flatMap((part) => /Used GPU Memory\s*:\s*(\d+) MiB/.exec(part)?.[1] ?? []);
  return counts.length === 0 ? null : counts.reduce((sum, count) => sum + Number(count), 0) * mib;
}

/**
 * Looks until `ended` resolves. `before`: usedBytes() before there was any such process. Returns the most that was ever seen: `residentBytes` of
 * ordinary memory; `processBytes` of GPU memory that the driver listed for it, null where it lists no such process, as in containers, whose
 * processes have other numbers outside; `deviceBytes` of all GPUs beyond `before`, null without nvidia-smi.
 */
export async function watch(pid, before, ended) {
  let over = false;
  const end = ended.finally(() => {
    over = true;
  });
  const most = { residentBytes: 0, processBytes: null, deviceBytes: null };
  const note = (name, bytes) => {
    if (bytes !== null) most[name] = Math.max(most[name] ?? 0, bytes);
  };
  while (!over) {
    note('residentBytes', peakResidentBytes(pid));
    if (before !== null) {
      const used = await usedBytes();
      note('deviceBytes', used === null ? null : used - before);
      note('processBytes', listedBytes((await nvidiaSmi('-q', '-d', 'PIDS')) ?? '', pid));
    }
    await Promise.race([wait(200), end]); // seldom: nvidia-smi takes locks that the run wants too
  }
  return most;
}

function peakResidentBytes(pid) {
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
  } catch {
    return null; // it has just ended, or this is not Linux
  }
}

/** null where it is missing or fails. */
function nvidiaSmi(...args) {
  return new Promise((resolve) => {
    execFile('nvidia-smi', args, { timeout: 10_000 }, (error, stdout) => resolve(error ? null : stdout));
  });
}
