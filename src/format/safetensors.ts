/**
 * safetensors: `u64 LE header length`, that many bytes of JSON, then data. Tensor offsets are relative to the end of the
 * header and need no alignment. Source: the safetensors format README. The header is untrusted: it is read by a cursor
 * that keeps one record per tensor, so memory stays within 20 times the header's bytes whatever it says.
 */
import { EngineError } from '../errors';
import { JsonScanner } from './json_scanner';
import { type Dtype, dtypeBytes, type TensorInfo } from './types';

/** Bytes. The reference implementation has the same limit. */
export const MAX_HEADER_BYTES = 100_000_000;
/** The largest real checkpoints keep one tensor per expert: about 280,000 over all shards. */
export const MAX_TENSORS = 500_000;
const MAX_NAME_BYTES = 1024;
const MAX_DIMS = 8;
const MAX_METADATA_ENTRIES = 65_536;
const LENGTH_BYTES = 8;

/**
 * Header length in bytes, from the file's first eight.
 * @throws EngineError 'format' if the file does not hold that many bytes, or if they exceed MAX_HEADER_BYTES.
 */
export function readHeaderLength(first8: Uint8Array, fileBytes: number): number {
  if (first8.byteLength < LENGTH_BYTES || fileBytes < LENGTH_BYTES) {
    throw new EngineError(
      'format',
      `A safetensors file has at least 8 bytes; this one has ${Math.min(first8.byteLength, fileBytes)}.`,
    );
  }
  const view = new DataView(first8.buffer, first8.byteOffset, LENGTH_BYTES);
  const length = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
  if (length > fileBytes - LENGTH_BYTES) {
    throw new EngineError(
      'format',
      `The safetensors header claims ${length} bytes, but only ${fileBytes - LENGTH_BYTES} follow its length. The file is cut off, or is not safetensors.`,
    );
  }
  if (length > MAX_HEADER_BYTES) {
    throw new EngineError('format', `The safetensors header claims ${length} bytes; at most ${MAX_HEADER_BYTES} are read.`);
  }
  return length;
}

/**
 * The tensors of one file, in header order. `header` is the JSON only, without the eight length bytes.
 * @throws EngineError 'format' naming the file, and the tensor where one is at fault.
 */
export function parseSafetensorsHeader(header: Uint8Array, file: string, fileBytes: number): TensorInfo[] {
  const dataStart = LENGTH_BYTES + header.byteLength;
  const dataBytes = fileBytes - dataStart;
  const fail = (problem: string) => new EngineError('format', `${file}: the safetensors header ${problem}.`);
  if (!(dataBytes >= 0)) throw fail(`(${header.byteLength} bytes) is longer than the file (${fileBytes} bytes)`);

  const json = new JsonScanner(header, fail);
  const tensors: TensorInfo[] = [];
  const names = new Set<string>();
  json.object('a tensor name', MAX_NAME_BYTES, (name) => {
    if (names.has(name)) throw fail(`lists ${quote(name)} twice`);
    names.add(name);
    if (name === '__metadata__') return readMetadata(json, fail);
    if (tensors.length === MAX_TENSORS) throw fail(`lists more than ${MAX_TENSORS} tensors`);
    tensors.push(readTensor(json, name, file, dataStart, dataBytes));
  });
  json.end();
  checkOverlap(tensors, file);
  return tensors;
}

function readMetadata(json: JsonScanner, fail: (problem: string) => EngineError): void {
  const keys = new Set<string>();
  json.object('a __metadata__ key', MAX_NAME_BYTES, (key) => {
    if (keys.has(key)) throw fail(`repeats the __metadata__ key ${quote(key)}`);
    if (keys.size === MAX_METADATA_ENTRIES) throw fail(`has more than ${MAX_METADATA_ENTRIES} __metadata__ entries`);
    keys.add(key);
    if (!json.atString()) throw fail(`has a __metadata__ value that is not a string (${quote(key)})`);
    json.skipString();
  });
}

function readTensor(json: JsonScanner, name: string, file: string, dataStart: number, dataBytes: number): TensorInfo {
  const fail = (problem: string) => new EngineError('format', `${file}: tensor ${quote(name)} ${problem}.`);
  let dtype: string | undefined;
  let shape: number[] | undefined;
  let offsets: number[] | undefined;
  json.object(`a key of tensor ${quote(name)}`, MAX_NAME_BYTES, (key) => {
    const again = key === 'dtype' ? dtype : key === 'shape' ? shape : key === 'data_offsets' ? offsets : undefined;
    if (again !== undefined) throw fail(`has two '${key}' entries`);
    if (key === 'dtype') {
      if (!json.atString()) throw fail('has a dtype that is not a string');
      dtype = json.string(`the dtype of tensor ${quote(name)}`, 64);
    } else if (key === 'shape') shape = json.integers(`the shape of tensor ${quote(name)}`, MAX_DIMS);
    else if (key === 'data_offsets') offsets = json.integers(`data_offsets of tensor ${quote(name)}`, 2);
    else json.skipValue(); // the reference reader ignores keys it does not know
  });
  if (dtype === undefined) throw fail('has no dtype');
  if (shape === undefined) throw fail('has no shape');
  if (offsets?.length !== 2) throw fail('needs data_offsets of two numbers');
  const itemBytes = Object.hasOwn(dtypeBytes, dtype) ? dtypeBytes[dtype as Dtype] : undefined;
  if (itemBytes === undefined) throw fail(`has dtype ${quote(dtype)}, which is none of ${Object.keys(dtypeBytes).join(', ')}`);

  const [begin, end] = offsets as [number, number];
  if (begin > end) throw fail(`ends (${end}) before it begins (${begin})`);
  if (end > dataBytes) throw fail(`lies at [${begin}, ${end}), outside the file's ${dataBytes} bytes of data`);
  let byteLength = itemBytes;
  // A zero anywhere makes the tensor empty, however large the other sizes are.
  if (shape.includes(0)) byteLength = 0;
  else for (const size of shape) byteLength *= size; // may pass 2^53 and turn inexact, but then it cannot equal end - begin
  if (byteLength !== end - begin) {
    throw fail(`of shape [${shape.join(', ')}] ${dtype} needs ${byteLength} bytes, but data_offsets span ${end - begin}`);
  }
  return { name, file, dtype: dtype as Dtype, shape, byteOffset: dataStart + begin, byteLength };
}

/** Gaps are harmless and allowed; two tensors on the same bytes are not. Empty tensors cannot overlap anything. */
function checkOverlap(tensors: readonly TensorInfo[], file: string): void {
  const inOrder = (list: readonly TensorInfo[]) => list.every((t, i) => i === 0 || list[i - 1]!.byteOffset <= t.byteOffset);
  let sorted = tensors.filter((t) => t.byteLength > 0);
  if (!inOrder(sorted)) sorted = sorted.sort((a, b) => a.byteOffset - b.byteOffset);
  for (let i = 1; i < sorted.length; i++) {
    const [a, b] = [sorted[i - 1]!, sorted[i]!];
    if (a.byteOffset + a.byteLength > b.byteOffset) {
      throw new EngineError('format', `${file}: tensors ${quote(a.name)} and ${quote(b.name)} share bytes.`);
    }
  }
}

/** Names come from the file: shorten them and escape control characters before they reach a message. */
function quote(name: string): string {
  return JSON.stringify(name.length > 120 ? `${name.slice(0, 117)}…` : name);
}
