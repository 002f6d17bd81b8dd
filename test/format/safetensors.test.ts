import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { MAX_HEADER_BYTES, parseSafetensorsHeader, readHeaderLength } from '../../src/format/safetensors';
import { makeHeader, withBytes } from './headers';

const parse = ({ header, fileBytes }: { header: Uint8Array; fileBytes: number }) =>
  parseSafetensorsHeader(header, 'm.safetensors', fileBytes);

function first8(length: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, length, true);
  return bytes;
}

describe('header length', () => {
  test('is the file’s first u64, little-endian, at an odd offset too', () => {
    const room = new Uint8Array(9);
    room.set(first8(0x1234n), 1);
    expect(readHeaderLength(room.subarray(1), 1e6)).toBe(0x1234);
    expect(readHeaderLength(first8(0n), 8)).toBe(0);
  });
  test.each([
    { length: 101n, file: 108, why: 'one byte more than follows' },
    { length: BigInt(MAX_HEADER_BYTES) + 1n, file: 1e12, why: 'above the limit although the file has it' },
    { length: 1n << 32n, file: 1000, why: 'low word zero' },
    { length: 1n << 63n, file: 1e15, why: 'sign bit' },
    { length: (1n << 64n) - 1n, file: Number.MAX_SAFE_INTEGER, why: 'all ones' },
    { length: 0n, file: 7, why: 'file shorter than the field' },
  ])('$why', ({ length, file }) => {
    expect(() => readHeaderLength(first8(length), file)).toThrow(expect.objectContaining({ code: 'format' }));
  });
  test('fewer than eight bytes', () => expect(() => readHeaderLength(new Uint8Array(7), 100)).toThrow(/8 bytes/));
});

test.each(['dense-4bit/model', 'dense-3bit/model', 'dense-bf16/model-00001-of-00002'])('%s: as JSON.parse reads it', (name) => {
  const bytes = readFileSync(new URL(`../fixtures/vectors/${name}.safetensors`, import.meta.url));
  const length = readHeaderLength(bytes, bytes.byteLength);
  const header = bytes.subarray(8, 8 + length);
  const { __metadata__: _, ...expected } = JSON.parse(header.toString()) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const tensors = parse({ header, fileBytes: bytes.byteLength });
  expect(tensors).toEqual(
    Object.entries(expected).map(
      ([
        tensor,
        {
          dtype,
          shape,
          data_offsets: [begin, end],
        },
      ]) => ({
        name: tensor,
        file: 'm.safetensors',
        dtype,
        shape,
        byteOffset: 8 + length + begin,
        byteLength: end - begin,
      }),
    ),
  );
});

const one = (fields: string, data = 4) => withBytes(`{"w":{${fields}}}`, data);
const good = '"dtype":"F32","shape":[1],"data_offsets":[0,4]';

describe('accepts', () => {
  test.each([
    { input: withBytes('{}', 0), count: 0, why: 'no tensors' },
    {
      input: withBytes('{"__metadata__":{"format":"mlx","n":"\\u00e9\\n"}}   ', 10),
      count: 0,
      why: 'metadata, padding, unused data',
    },
    { input: one(good), count: 1, why: 'one tensor' },
    { input: one('"data_offsets":[0,4],"shape":[1],"dtype":"F32"'), count: 1, why: 'keys in another order' },
    { input: one('"dtype":"F32","shape":[],"data_offsets":[0,4]'), count: 1, why: 'a scalar' },
    { input: one('"dtype":"F32","shape":[0,7],"data_offsets":[4,4]'), count: 1, why: 'an empty tensor' },
    {
      input: one('"dtype":"F32","shape":[9007199254740991,9007199254740991,0],"data_offsets":[0,0]'),
      count: 1,
      why: 'empty although sizes overflow',
    },
    {
      input: one(`${good},"extra":[{"a":[1.5e3,true,null,"x"]}]`),
      count: 1,
      why: 'keys it does not know, as the reference does',
    },
    {
      input: withBytes(' {\n\t"w" : { "dtype" : "U8" , "shape" : [ 1 , 1 ] , "data_offsets" : [ 3 , 4 ] } }\r\n', 5),
      count: 1,
      why: 'white space and a gap',
    },
    {
      input: makeHeader({ 'ключ🙂': { dtype: 'U8', shape: [3] }, b: { dtype: 'F32', shape: [1] } }),
      count: 2,
      why: 'UTF-8 names and an odd offset',
    },
  ])('$why', ({ input, count }) => expect(parse(input)).toHaveLength(count));

  test('a tensor called __proto__ is only a tensor', () => {
    const tensors = parse(withBytes(`{"__proto__":{${good}},"constructor":{"dtype":"U8","shape":[1],"data_offsets":[4,5]}}`, 5));
    expect(tensors.map(({ name }) => name)).toEqual(['__proto__', 'constructor']);
    expect(({} as Record<string, unknown>).dtype).toBeUndefined();
  });
  test('an escaped name is the name it spells', () =>
    expect(parse(withBytes(`{"\\u0077\\"":{${good}}}`, 4))[0]!.name).toBe('w"'));
});

describe('refuses, naming the file and the tensor', () => {
  test.each([
    { input: one('"dtype":"F99","shape":[1],"data_offsets":[0,4]'), says: /"w" has dtype "F99"/ },
    { input: one('"dtype":"toString","shape":[1],"data_offsets":[0,4]'), says: /has dtype "toString"/ },
    { input: one('"dtype":4,"shape":[1],"data_offsets":[0,4]'), says: /"w".*not a string/ },
    { input: one('"shape":[1],"data_offsets":[0,4]'), says: /"w" has no dtype/ },
    { input: one('"dtype":"F32","data_offsets":[0,4]'), says: /"w" has no shape/ },
    { input: one('"dtype":"F32","shape":[1]'), says: /"w" needs data_offsets/ },
    { input: one('"dtype":"F32","shape":[1],"data_offsets":[0]'), says: /"w" needs data_offsets/ },
    { input: one('"dtype":"F32","shape":[1],"data_offsets":[0,4,8]'), says: /more than 2 numbers in .*"w"/ },
    { input: one(`${good},"shape":[1]`), says: /"w" has two 'shape'/ },
    { input: one('"dtype":"F32","shape":[1],"data_offsets":[4,0]'), says: /"w" ends \(0\) before/ },
    { input: one('"dtype":"F32","shape":[2],"data_offsets":[0,8]'), says: /"w" lies at \[0, 8\), outside the file's 4/ },
    { input: one('"dtype":"F32","shape":[2],"data_offsets":[0,4]'), says: /"w" of shape \[2\] F32 needs 8 bytes.*span 4/ },
    { input: one('"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]'), says: /"w".*needs/ },
    {
      input: one('"dtype":"F32","shape":[9007199254740991,9007199254740991,9007199254740991],"data_offsets":[0,4]'),
      says: /"w".*needs/,
    },
    { input: one('"dtype":"F32","shape":[9007199254740992],"data_offsets":[0,4]'), says: /above 2\^53.*"w"/ },
    { input: one('"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]'), says: /more than 8 numbers in .*"w"/ },
    { input: one('"dtype":"F32","shape":[-1],"data_offsets":[0,4]'), says: /'-1'.*"w"/ },
    { input: one('"dtype":"F32","shape":[1.0],"data_offsets":[0,4]'), says: /'1.0'.*"w"/ },
    { input: one('"dtype":"F32","shape":[1e0],"data_offsets":[0,4]'), says: /'1e0'.*"w"/ },
    { input: one('"dtype":"F32","shape":[NaN],"data_offsets":[0,4]'), says: /'NaN'.*"w"/ },
    { input: one('"dtype":"F32","shape":[01],"data_offsets":[0,4]'), says: /'01'.*"w"/ },
    { input: one('"dtype":"F32","shape":[null],"data_offsets":[0,4]'), says: /'null'.*"w"/ },
    { input: one('"dtype":"F32","shape":["1"],"data_offsets":[0,4]'), says: /"w"/ },
    { input: one('"dtype":"F32","shape":1,"data_offsets":[0,4]'), says: /expected '\['/ },
    { input: withBytes(`{"w":{${good}},"w":{${good}}}`, 4), says: /lists "w" twice/ },
    { input: withBytes(`{"w":{${good}},"\\u0077":{${good}}}`, 4), says: /lists "w" twice/ },
    { input: withBytes('{"__proto__":{},"__proto__":{}}', 4), says: /"__proto__"/ },
    {
      input: withBytes(`{"a":{${good}},"b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}}`, 4),
      says: /"a" and "b" share bytes/,
    },
    {
      input: withBytes(`{"b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]},"a":{${good}}}`, 4),
      says: /"a" and "b" share bytes/,
    },
    { input: withBytes('{"__metadata__":{"a":1}}', 0), says: /__metadata__ value.*"a"/ },
    { input: withBytes('{"__metadata__":{"a":"1","a":"2"}}', 0), says: /repeats.*"a"/ },
    { input: withBytes('{"__metadata__":{},"__metadata__":{}}', 0), says: /twice/ },
    { input: withBytes('{"__metadata__":[]}', 0), says: /expected '\{'/ },
    { input: withBytes('{"w":null}', 0), says: /expected '\{'/ },
    { input: withBytes(`{"${'n'.repeat(1025)}":{${good}}}`, 4), says: /name of 1025 bytes/ },
    { input: withBytes(`{"\\ud800":{${good}}}`, 4), says: /surrogate/ },
    { input: withBytes(`{"\\x":{${good}}}`, 4), says: /escape/ },
    { input: withBytes(`{"a\nb":{${good}}}`, 4), says: /control/ },
    { input: one(`${good},"x":${'['.repeat(40)}`), says: /nests deeper/ },
    { input: withBytes('', 0), says: /expected '\{' at byte 0, found the end/ },
    { input: withBytes('[]', 0), says: /expected '\{'/ },
    { input: withBytes('{"w":{', 0), says: /the end/ },
    { input: withBytes('{},', 0), says: /expected the end/ },
    { input: withBytes('{"a":{},}', 0), says: /no dtype|expected/ },
    { input: withBytes('\ufeff{}', 0), says: /expected '\{'/ },
  ])('$says', ({ input, says }) => {
    expect(() => parse(input)).toThrow(
      expect.objectContaining({ name: 'EngineError', code: 'format', message: expect.stringMatching(says) }),
    );
    expect(() => parse(input)).toThrow(/^m\.safetensors: /);
  });

  test('bytes that are not UTF-8', () => {
    const input = withBytes(`{"w?":{${good}}}`, 4);
    input.header[3] = 0xff;
    expect(() => parse(input)).toThrow(/UTF-8/);
  });
  test('a header longer than its file', () =>
    expect(() => parseSafetensorsHeader(new Uint8Array(10), 'm', 17)).toThrow(/longer than the file/));
});
