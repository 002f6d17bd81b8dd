/**
 * Bare loops from an OPFS file to a GPU buffer, to hold the engine's reads and uploads against. Not a test: open it in the browser to
 * measure. Query: `mb` (file size, default 1024), `passes` (default 3), `pieces` (MiB, default 1,2,4), `buffers` (default 4,8,16),
 * `readers` (threads that read beside the one with the GPU, default 1,2,4), `paths` (default 1; 0 leaves src/stream/upload out), `post`
 * (address that gets the result). The result is JSON in window.result and on the page; the title says 'done'.
 */
import type { ReaderStart } from './upload_reader.worker';
import type { SpeedRequest, SpeedResult } from './upload_speed.worker';

declare global {
  interface Window {
    result?: SpeedResult;
  }
}

const fileName = 'upload-speed';
const query = new URLSearchParams(location.search);
const numbers = (name: string, fallback: string) => (query.get(name) ?? fallback).split(',').map(Number);

const worker = new Worker(new URL('./upload_speed.worker.ts', import.meta.url), { type: 'module', name: 'upload speed' });
worker.onmessage = ({ data }: MessageEvent<SpeedResult>) => void finish(data);
worker.onerror = ({ message }) => void finish({ adapter: '', rows: [], error: message });

const readers = numbers('readers', '1,2,4').filter((count) => count > 0);
const ports = Array.from({ length: Math.max(0, ...readers) }, startReader);
const request: SpeedRequest = {
  fileName,
  fileBytes: numbers('mb', '1024')[0]! * 2 ** 20,
  passes: numbers('passes', '3')[0]!,
  pieces: numbers('pieces', '1,2,4').map((mebibytes) => mebibytes * 2 ** 20),
  buffers: numbers('buffers', '4,8,16'),
  readers,
  paths: numbers('paths', '1')[0] === 1,
  ports,
};
worker.postMessage(request, ports);

function startReader(): MessagePort {
  const reader = new Worker(new URL('./upload_reader.worker.ts', import.meta.url), { type: 'module', name: 'upload reader' });
  reader.onerror = ({ message }) => void finish({ adapter: '', rows: [], error: `a reader: ${message}` });
  const { port1, port2 } = new MessageChannel();
  reader.postMessage({ file: fileName, port: port2 } satisfies ReaderStart, [port2]);
  return port1;
}

async function finish(result: SpeedResult): Promise<void> {
  const text = JSON.stringify(result, undefined, 1);
  document.querySelector('pre')!.textContent = text;
  const post = query.get('post');
  if (post) await fetch(post, { method: 'POST', body: text, mode: 'no-cors' });
  window.result = result;
  document.title = 'done';
}
