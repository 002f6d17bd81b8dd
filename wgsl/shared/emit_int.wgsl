// emit_int: a unit of 32 neighbouring activations, written as integers for gemv_q4_units: x = scale * code to half a step.
//   CODE_BYTES 2: code in -127..127, one int8.  4: code = 256 * high + low in -32512..32512, two int8
//   6: code = 65536 * high + 256 * low + last in +-8323072, three int8; the highest that rounding may leave is 8355711
//   3: in steps of 16 to +-28672. Of two neighbouring columns the even one's code is 256 * high + low, the odd one's 256 * high + 16 * low, low
//      in 0..255 the same: a byte of two weights, q of the even column + 16 * that of the odd one, meets it as it lies.
//   units [COLS/32], which whoever writes declares, of CODE_BYTES + 1 vec4u, which lie as unit_layout says: the even and the odd columns'
//   only or high int8; the low ones of both, or of the even and the odd columns; the last ones of either; then (scale, excess, sum, 0)
// Word i of a vec4u holds columns 8i + (0, 2, 4, 6), odd ones + 1, lowest bits first: the order in which two masks take the
// nibbles out of a word of weights. sum is the exact sum(x); excess = 8 * (sum(x) - scale * sum(code)) makes the product
// with weights q as accurate as that with q - 8; of 6 it is 0: their sum is beyond what f32 holds, and f32 itself rounds as much.
// Four threads share a unit, of which a workgroup writes EMITTERS / 4: one would take longer than all else at a kernel's end.
alias Emitted = u32;
var<workgroup> quarterMost: array<f32, EMITTERS>;
var<workgroup> quarterSums: array<f32, EMITTERS>;
var<workgroup> quarterCodes: array<i32, EMITTERS>;

/// Eight neighbouring columns: words of the even and of the odd ones, the highest plane's first (`low.x` where they share one), and sums of codes.
struct Codes { high: vec2u, low: vec2u, last: vec2u, sum: vec4i };

fn packed(a: vec4i, b: vec4i) -> vec2u {
  return vec2u(pack4xI8(vec4i(a.xz, b.xz)), pack4xI8(vec4i(a.yw, b.yw)));
}

/// The part of a code above its lowest int8.
fn above(code: vec4i) -> vec4i { return (code + 128) >> vec4u(8u); }

/// Of even and odd columns in steps of 16: the odd ones' last four bits are the even ones' rest, which rounding takes into account.
fn sharedCodes(evens: vec4f, odds: vec4f) -> Codes {
  let odd = vec4i(round(odds));
  let rest = odd & vec4i(15);
  let even = vec4i(round(evens - vec4f(rest) * 0.0625));
  let low = rest + 16 * (even & vec4i(15));
  let oddHigh = (odd >> vec4u(4u)) - (even & vec4i(15));
  return Codes(vec2u(pack4xI8(even >> vec4u(4u)), pack4xI8(oddHigh)), vec2u(pack4xU8(vec4u(low)), 0u), vec2u(), 16 * (even + odd) + rest);
}

fn codesOf(a: vec4f, b: vec4f, steps: f32) -> Codes {
  if (CODE_BYTES == 3u) { return sharedCodes(vec4f(a.xz, b.xz) * steps, vec4f(a.yw, b.yw) * steps); }
  let ca = vec4i(round(a * steps));
  let cb = vec4i(round(b * steps));
  if (CODE_BYTES == 2u) { return Codes(packed(ca, cb), vec2u(), vec2u(), ca + cb); }
  let ha = above(ca);
  let hb = above(cb);
  let lowest = packed(ca - 256 * ha, cb - 256 * hb);
  if (CODE_BYTES == 4u) { return Codes(packed(ha, hb), lowest, vec2u(), ca + cb); }
  let ta = above(ha);
  let tb = above(hb);
  return Codes(packed(ta, tb), packed(ha - 256 * ta, hb - 256 * tb), lowest, vec4i());
}

/// The largest of eight values, whatever its sign.
fn most(a: vec4f, b: vec4f) -> f32 {
  let m = max(abs(a), abs(b));
  return max(max(m.x, m.y), max(m.z, m.w));
}

/// Columns [8 * (thread % 4), + 8) of a unit, where the thread `writes` some: one below EMITTERS. All threads of a workgroup call it.
fn emit(unit: u32, thread: u32, writes: bool, a: vec4f, b: vec4f) {
  let quarter = thread % 4u;
  let first = thread - quarter;
  let at = firstPiece(unit) * 4u + quarter;
  if (writes) {
    quarterMost[thread] = most(a, b);
    quarterSums[thread] = dot(a + b, vec4f(1.0));
  }
  workgroupBarrier();
  var scale = 0.0;
  if (writes) {
    let largest = max(max(quarterMost[first], quarterMost[first + 1u]), max(quarterMost[first + 2u], quarterMost[first + 3u]));
    var range = 32512.0; // in steps
    if (CODE_BYTES == 2u) { range = 127.0; }
    if (CODE_BYTES == 3u) { range = 1791.0; }
    if (CODE_BYTES == 6u) { range = 8323072.0; }
    scale = largest / (range * select(1.0, 16.0, CODE_BYTES == 3u));
    let codes = codesOf(a, b, select(range / largest, 0.0, largest < 1e-30));
    quarterCodes[thread] = (codes.sum.x + codes.sum.y) + (codes.sum.z + codes.sum.w);
    units[at] = codes.high.x;
    units[at + 4u * pieceStep] = codes.high.y;
    if (CODE_BYTES >= 3u) { units[at + 8u * pieceStep] = codes.low.x; }
    if (CODE_BYTES >= 4u) { units[at + 12u * pieceStep] = codes.low.y; }
    if (CODE_BYTES == 6u) {
      units[at + 16u * pieceStep] = codes.last.x;
      units[at + 20u * pieceStep] = codes.last.y;
    }
  }
  workgroupBarrier();
  if (!writes) { return; }
  let codes = (quarterCodes[first] + quarterCodes[first + 1u]) + (quarterCodes[first + 2u] + quarterCodes[first + 3u]);
  let sum = (quarterSums[first] + quarterSums[first + 1u]) + (quarterSums[first + 2u] + quarterSums[first + 3u]);
  let last = vec4f(scale, select(8.0 * (sum - scale * f32(codes)), 0.0, CODE_BYTES == 6u), sum, 0.0);
  units[at + 4u * CODE_BYTES * pieceStep] = bitcast<u32>(last[quarter]);
}
