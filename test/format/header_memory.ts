/**
 * Run in a process of its own, with the kind of header as argument: parses one of about 6 MB and prints
 * { headerBytes, peakBytes, ms, outcome }, peakBytes being resident memory above what was there before, the header not counted.
 */
import { EngineError } from '../../src/errors';
import { parseSafetensorsHeader } from '../../src/format/safetensors';

const HEADER_BYTES = 6 << 20;

/** [before, one piece per number, after]: the worst shapes of header that were found. */
const shapes: Record<string, [before: string, piece: (i: number) => string, after: string]> = {
  tensors: [
    '{"_":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}',
    (i) => `,"${i.toString(36)}":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`,
    '}',
  ],
  reversed: [
    '{"_":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}',
    (i) => `,"${i}":{"dtype":"U8","shape":[1,1,1],"data_offsets":[${9e9 - i},${9e9 - i + 1}]}`,
    '}',
  ],
  junk: ['{"_":{"x":[0', () => ',{},[]', ']}}'],
  string: ['{"__metadata__":{"a":"', () => 'ж', '"}}'],
  escapes: ['{"__metadata__":{"a":"', () => '\\ud83d\\ude00', '"}}'],
  metadata: ['{"__metadata__":{"_":""', (i) => `,"${i.toString(36)}":""`, '}}'],
};

function fill([before, piece, after]: (typeof shapes)[string]): Uint8Array {
  const header = Buffer.alloc(HEADER_BYTES, ' ');
  let at = header.write(before);
  for (let i = 0; at < HEADER_BYTES - 200; i++) at += header.write(piece(i), at);
  header.write(after, at);
  return header;
}

const header = fill(shapes[process.argv[2]!]!);
const before = process.memoryUsage().rss;
const start = performance.now();
let outcome: string;
try {
  outcome = `${parseSafetensorsHeader(header, 'm.safetensors', header.byteLength + 1e10).length} tensors`;
} catch (error) {
  if (!(error instanceof EngineError)) throw error;
  outcome = error.message.slice(0, 100);
}
const peakBytes = process.resourceUsage().maxRSS * 1024 - before;
console.log(JSON.stringify({ headerBytes: header.byteLength, peakBytes, ms: Math.round(performance.now() - start), outcome }));
