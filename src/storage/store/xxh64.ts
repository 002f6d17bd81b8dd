/**
 * xxHash64 without WebAssembly, for pages whose Content-Security-Policy forbids that: the same digits, at some 200 MB/s in place of 5 GB/s.
 * 64-bit numbers are two 32-bit ones (`hi`, `lo`) while bytes stream, since BigInt is ten times slower; the end, once per hash, is BigInt.
 * Source: https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
 */
const MASK = (1n << 64n) - 1n;
const P1 = 0x9e3779b185ebca87n;
const P2 = 0xc2b2ae3d27d4eb4fn;
const P3 = 0x165667b19e3779f9n;
const P4 = 0x85ebca77c2b2ae63n;
const P5 = 0x27d4eb2f165667c5n;
const [P1_HI, P1_LO] = halves(P1);
const [P2_HI, P2_LO] = halves(P2);
const STRIPE_BYTES = 32;

/** One lane of the state: acc = rotl(acc + word * P2, 31) * P1. Values are int32 halves. */
class Lane {
  hi: number;
  lo: number;

  constructor(seed: bigint) {
    [this.hi, this.lo] = halves(seed & MASK);
  }

  round(hi: number, lo: number): void {
    // word * P2
    let low = Math.imul(lo, P2_LO);
    let high = (mulHigh(lo, P2_LO) + Math.imul(hi, P2_LO) + Math.imul(lo, P2_HI)) | 0;
    // + acc
    const sum = (low >>> 0) + (this.lo >>> 0);
    high = (high + this.hi + (sum > 0xffffffff ? 1 : 0)) | 0;
    low = sum | 0;
    // rotl 31
    const turnedHigh = (high << 31) | (low >>> 1);
    const turnedLow = (low << 31) | (high >>> 1);
    // * P1
    this.lo = Math.imul(turnedLow, P1_LO);
    this.hi = (mulHigh(turnedLow, P1_LO) + Math.imul(turnedHigh, P1_LO) + Math.imul(turnedLow, P1_HI)) | 0;
  }

  get value(): bigint {
    return (BigInt(this.hi >>> 0) << 32n) | BigInt(this.lo >>> 0);
  }
}

/** The shape of hash-wasm's hashers, as far as it is used here. Seed 0. */
export class PlainXxh64 {
  #lanes: Lane[] = [];
  readonly #rest = new Uint8Array(STRIPE_BYTES);
  #restBytes = 0;
  #total = 0;

  init(): void {
    this.#lanes = [P1 + P2, P2, 0n, -P1].map((seed) => new Lane(seed));
    this.#restBytes = 0;
    this.#total = 0;
  }

  update(bytes: Uint8Array): void {
    this.#total += bytes.byteLength;
    let at = 0;
    if (this.#restBytes > 0) {
      at = Math.min(STRIPE_BYTES - this.#restBytes, bytes.byteLength);
      this.#rest.set(bytes.subarray(0, at), this.#restBytes);
      this.#restBytes += at;
      if (this.#restBytes < STRIPE_BYTES) return;
      this.#stripes(this.#rest);
      this.#restBytes = 0;
    }
    const end = bytes.byteLength - ((bytes.byteLength - at) % STRIPE_BYTES);
    this.#stripes(bytes.subarray(at, end));
    this.#rest.set(bytes.subarray(end));
    this.#restBytes = bytes.byteLength - end;
  }

  /** 16 hex digits. */
  digest(): string {
    let hash = this.#total < STRIPE_BYTES ? P5 : this.#merged();
    hash = (hash + BigInt(this.#total)) & MASK;
    const view = new DataView(this.#rest.buffer, 0, this.#restBytes);
    let at = 0;
    for (; at + 8 <= view.byteLength; at += 8) hash = mul(rotl(hash ^ round(0n, view.getBigUint64(at, true)), 27n), P1) + P4;
    if (at + 4 <= view.byteLength) {
      hash = mul(rotl(hash ^ mul(BigInt(view.getUint32(at, true)), P1), 23n), P2) + P3;
      at += 4;
    }
    for (; at < view.byteLength; at++) hash = mul(rotl(hash ^ mul(BigInt(view.getUint8(at)), P5), 11n), P1);
    return avalanche(hash & MASK)
      .toString(16)
      .padStart(16, '0');
  }

  #stripes(bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const [a, b, c, d] = this.#lanes as [Lane, Lane, Lane, Lane];
    for (let at = 0; at < bytes.byteLength; at += STRIPE_BYTES) {
      a.round(view.getInt32(at + 4, true), view.getInt32(at, true));
      b.round(view.getInt32(at + 12, true), view.getInt32(at + 8, true));
      c.round(view.getInt32(at + 20, true), view.getInt32(at + 16, true));
      d.round(view.getInt32(at + 28, true), view.getInt32(at + 24, true));
    }
  }

  #merged(): bigint {
    const values = this.#lanes.map(({ value }) => value);
    const turns = [1n, 7n, 12n, 18n];
    const sum = values.reduce((total, value, i) => (total + rotl(value, turns[i]!)) & MASK, 0n);
    return values.reduce((hash, value) => (mul(hash ^ round(0n, value), P1) + P4) & MASK, sum);
  }
}

/** Bits 32 to 63 of the product of two unsigned 32-bit numbers. */
function mulHigh(a: number, b: number): number {
  const [a0, a1, b0, b1] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const middle = a1 * b0 + ((a0 * b0) >>> 16);
  const other = a0 * b1 + (middle & 0xffff);
  return a1 * b1 + (middle >>> 16) + (other >>> 16);
}

function halves(value: bigint): [hi: number, lo: number] {
  return [Number(value >> 32n) | 0, Number(value & 0xffffffffn) | 0];
}

const mul = (a: bigint, b: bigint): bigint => (a * b) & MASK;
const rotl = (value: bigint, bits: bigint): bigint => {
  const kept = value & MASK;
  return ((kept << bits) | (kept >> (64n - bits))) & MASK;
};
const round = (acc: bigint, word: bigint): bigint => mul(rotl((acc + mul(word, P2)) & MASK, 31n), P1);

function avalanche(hash: bigint): bigint {
  const first = mul(hash ^ (hash >> 33n), P2);
  const second = mul(first ^ (first >> 29n), P3);
  return second ^ (second >> 32n);
}
