// emit_int: a unit of 32 neighbouring activations, written as integers for gemv_q4_units: x = scale * code to half a step.
//   CODE_BYTES 2: code in -127..127, one int8.  4: code = 256 * high + low in -32512..32512, two int8
//   3: in steps of 16 to +-28672. Of two neighbouring columns the even one's code is 256 * high + low, the odd one's 256 * high + 16 * low, low
//      in 0..255 the same: a byte of two weights, q of the even column + 16 * that of the odd one, meets it as it lies.
//   units [COLS/32], which whoever writes declares, of CODE_BYTES + 1 vec4u, which lie as unit_layout says: the even and the odd columns'
//   only or high int8; the low ones of both, or of the even and the odd columns; then (scale, excess, sum, 0)
// Word i of a vec4u holds columns 8i + (0, 2, 4, 6), odd ones + 1, lowest bits first: the order in which two masks take the
// nibbles out of a word of weights. sum is the exact sum(x); excess = 8 * (sum(x) - scale * sum(code)) makes the product
// with weights q as accurate as that with q - 8.
alias Emitted = vec4u;

struct Values { v0: vec4f, v1: vec4f, v2: vec4f, v3: vec4f, v4: vec4f, v5: vec4f, v6: vec4f, v7: vec4f };
/// Eight neighbouring columns: the highest plane's words, the other's (`evenLow` where they share one), and sums of codes.
struct Codes { even: u32, odd: u32, evenLow: u32, oddLow: u32, sum: vec4i };

fn most(a: vec4f, b: vec4f) -> vec4f { return max(abs(a), abs(b)); }

/// Of even and odd columns in steps of 16: the odd ones' last four bits are the even ones' rest, which rounding takes into account.
fn sharedCodes(evens: vec4f, odds: vec4f) -> Codes {
  let odd = vec4i(round(odds));
  let rest = odd & vec4i(15);
  let even = vec4i(round(evens - vec4f(rest) * 0.0625));
  let low = rest + 16 * (even & vec4i(15));
  let oddHigh = (odd >> vec4u(4u)) - (even & vec4i(15));
  return Codes(pack4xI8(even >> vec4u(4u)), pack4xI8(oddHigh), pack4xU8(vec4u(low)), 0u, 16 * (even + odd) + rest);
}

fn codesOf(a: vec4f, b: vec4f, steps: f32) -> Codes {
  if (CODE_BYTES == 3u) { return sharedCodes(vec4f(a.xz, b.xz) * steps, vec4f(a.yw, b.yw) * steps); }
  let ca = vec4i(round(a * steps));
  let cb = vec4i(round(b * steps));
  if (CODE_BYTES == 2u) {
    return Codes(pack4xI8(vec4i(ca.xz, cb.xz)), pack4xI8(vec4i(ca.yw, cb.yw)), 0u, 0u, ca + cb);
  }
  let ha = (ca + 128) >> vec4u(8u);
  let hb = (cb + 128) >> vec4u(8u);
  let la = ca - 256 * ha;
  let lb = cb - 256 * hb;
  return Codes(pack4xI8(vec4i(ha.xz, hb.xz)), pack4xI8(vec4i(ha.yw, hb.yw)),
    pack4xI8(vec4i(la.xz, lb.xz)), pack4xI8(vec4i(la.yw, lb.yw)), ca + cb);
}

fn emit(unit: u32, v: Values) {
  let m = max(max(most(v.v0, v.v1), most(v.v2, v.v3)), max(most(v.v4, v.v5), most(v.v6, v.v7)));
  let largest = max(max(m.x, m.y), max(m.z, m.w));
  let range = select(127.0, select(32512.0, 1791.0, CODE_BYTES == 3u), CODE_BYTES > 2u); // in steps
  let scale = largest / (range * select(1.0, 16.0, CODE_BYTES == 3u));
  let steps = select(range / largest, 0.0, largest < 1e-30);
  let c0 = codesOf(v.v0, v.v1, steps);
  let c1 = codesOf(v.v2, v.v3, steps);
  let c2 = codesOf(v.v4, v.v5, steps);
  let c3 = codesOf(v.v6, v.v7, steps);
  let codes = (c0.sum + c1.sum) + (c2.sum + c3.sum);
  let sum = dot((v.v0 + v.v1 + v.v2 + v.v3) + (v.v4 + v.v5 + v.v6 + v.v7), vec4f(1.0));
  let at = firstPiece(unit);
  units[at] = vec4u(c0.even, c1.even, c2.even, c3.even);
  units[at + pieceStep] = vec4u(c0.odd, c1.odd, c2.odd, c3.odd);
  if (CODE_BYTES >= 3u) { units[at + 2u * pieceStep] = vec4u(c0.evenLow, c1.evenLow, c2.evenLow, c3.evenLow); }
  if (CODE_BYTES == 4u) { units[at + 3u * pieceStep] = vec4u(c0.oddLow, c1.oddLow, c2.oddLow, c3.oddLow); }
  let excess = 8.0 * (sum - scale * f32(codes.x + codes.y + codes.z + codes.w));
  units[at + CODE_BYTES * pieceStep] = bitcast<vec4u>(vec4f(scale, excess, sum, 0.0));
}
