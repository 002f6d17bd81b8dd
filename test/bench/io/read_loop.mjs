/** The bare read loop: some readers, each with one buffer, take the next piece until none is left. */
import { piecesOf, readPiece } from './files.mjs';

export const MIB = 1 << 20;

/** GB/s of one pass. */
async function readPass(files, { readers, pieceMiB }) {
  const pieces = piecesOf(files, pieceMiB * MIB);
  const buffers = Array.from({ length: readers }, () => new Uint8Array(pieceMiB * MIB).fill(1)); // touched: paged in
  let next = 0;
  const started = performance.now();
  await Promise.all(
    buffers.map(async (buffer) => {
      while (next < pieces.length) await readPiece(pieces[next++], buffer);
    }),
  );
  return files.bytes / (performance.now() - started) / 1e6;
}

/**
 * Every row measured `repeat` times, round by round, so that a slow moment of the machine hits all rows alike.
 * @param before what happens before each pass, outside the measured time
 */
export async function measureReads(files, rows, repeat, before = async () => {}) {
  return measure(rows, repeat, async (row) => {
    await before();
    return readPass(files, row);
  });
}

/** @returns the rows with `passes` and their median, `gbPerSecond` */
export async function measure(rows, repeat, pass) {
  const passes = rows.map(() => []);
  for (let round = 0; round < repeat; round++) {
    for (const [i, row] of rows.entries()) passes[i].push(await pass(row));
  }
  return rows.map((row, i) => ({ ...row, gbPerSecond: median(passes[i]), passes: passes[i] }));
}

export function bestOf(rows) {
  return rows.reduce((best, row) => (row.gbPerSecond > best.gbPerSecond ? row : best));
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
