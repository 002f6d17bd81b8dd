/**
 * What the disk and the upload path give without an engine: the figures that the engine's reads and uploads are compared with.
 *   node test/bench/io.mjs --file <file|folder> [--bytes 4GB] [--gpu] [--repeat 3] [--json out.json]
 * A folder means all its *.safetensors, in order of name; `--bytes` caps how much of them one pass reads (0: all).
 * Reads: 1, 2, 4, 8 readers x 1, 4, 16 MiB, each into a buffer that it keeps; cold (page cache emptied before every pass) and
 * page-cached. `--gpu`: writeBuffer in pieces and a ring of mapped buffers, from memory and from the page-cached file.
 * Figures are the median of `--repeat` passes. Prints tables, then one line of JSON.
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { CacheDropper, openFiles } from './io/files.mjs';
import { bestOf, MIB, measureReads } from './io/read_loop.mjs';

const usage = 'node test/bench/io.mjs --file <file|folder> [--bytes 4GB] [--gpu] [--repeat 3] [--json out.json]';
const readers = [1, 2, 4, 8];

// Node's pool has four threads unless told otherwise before it starts, and loading a module starts it.
if (process.env.UV_THREADPOOL_SIZE === undefined) {
  const env = { ...process.env, UV_THREADPOOL_SIZE: String(Math.max(...readers) + 2) };
  const [script, ...args] = process.argv.slice(1);
  process.exitCode = spawnSync(process.execPath, [script, ...args], { env, stdio: 'inherit' }).status ?? 1;
} else {
  await main().catch((error) => {
    console.error(`io: ${process.env.SLUICE_DEBUG ? error.stack : error.message}`);
    process.exitCode = 1;
  });
  process.exit(); // Dawn's threads would keep the process alive
}

async function main() {
  const options = readArguments();
  const files = await openFiles(options.file, options.bytes);
  console.error(`${files.paths.length} file(s), ${(files.bytes / 1e9).toFixed(2)} GB a pass`);
  const report = {
    file: options.file,
    files: files.paths.length,
    bytesPerPass: files.bytes,
    repeat: options.repeat,
    threads: Number(process.env.UV_THREADPOOL_SIZE),
    ...(await readReport(files, options)),
  };
  if (options.gpu) {
    const { uploadReport } = await import('./io/upload_loop.mjs');
    report.gpu = await uploadReport(files, { repeat: options.repeat, read: report.cached.best });
    printTable('from memory to the GPU, GB/s', report.gpu.upload);
    printTable('from the page-cached file to the GPU, GB/s', report.gpu.readAndUpload);
  }
  const line = JSON.stringify(report);
  if (options.json) writeFileSync(options.json, `${line}\n`);
  console.log(line);
}

function readArguments() {
  const text = { type: 'string' };
  const { values } = parseArgs({
    options: { file: text, bytes: text, repeat: text, json: text, gpu: { type: 'boolean' } },
    strict: true,
  });
  if (!values.file) throw new Error(`--file is missing. Usage: ${usage}`);
  const repeat = Number(values.repeat ?? 3);
  if (!(Number.isInteger(repeat) && repeat >= 1)) throw new Error(`--repeat must be a whole number from 1 on. Usage: ${usage}`);
  return { ...values, repeat, bytes: byteCount(values.bytes ?? '4GB') };
}

/** 4GB, 512MB, 4096. */
function byteCount(text) {
  const match = /^(\d+(?:\.\d+)?)(GB|MB)?$/.exec(text);
  if (!match) throw new Error(`--bytes must be a number of bytes, MB or GB, e.g. 4GB; it is '${text}'. Usage: ${usage}`);
  return Math.floor(Number(match[1]) * { GB: 1e9, MB: 1e6, undefined: 1 }[match[2]]);
}

async function readReport(files, { repeat }) {
  const dropper = new CacheDropper(files.paths);
  const rows = readers.flatMap((count) => [1, 4, 16].map((mib) => ({ readers: count, pieceMiB: mib })));
  const cold = { ...(await dropper.drop()) };
  if (cold.possible) {
    cold.rows = await measureReads(files, rows, repeat, async () => {
      const { residentBytes } = await dropper.drop();
      cold.residentBytes = Math.max(cold.residentBytes ?? 0, residentBytes ?? 0);
    });
    cold.best = bestOf(cold.rows);
    printTable(`reads, cold (${cold.how}), GB/s`, cold.rows);
  } else console.error(`cold reads: not measured, ${cold.how}`);
  await measureReads(files, [{ readers: 4, pieceMiB: 4 }], 1); // fills the page cache
  const cachedRows = await measureReads(files, rows, repeat);
  printTable('reads, page-cached, GB/s', cachedRows);
  return { cold, cached: { rows: cachedRows, best: bestOf(cachedRows), residentBytes: dropper.residentBytes() } };
}

function printTable(title, rows) {
  console.error(`\n${title}`);
  for (const { gbPerSecond, passes, ...what } of rows) {
    const label = Object.entries(what)
      .map(([name, value]) => `${name} ${value}`)
      .join(', ');
    console.error(`  ${label.padEnd(48)} ${gbPerSecond.toFixed(2).padStart(7)}   (${passes.map((x) => x.toFixed(2)).join(' ')})`);
  }
  const best = bestOf(rows);
  console.error(`  best: ${best.gbPerSecond.toFixed(2)} (1 MiB = ${MIB} bytes, 1 GB = 10^9)`);
}
