// emit_int: a unit of 32 neighbouring activations, written as integers for gemv_q4_units: x = scale * code to half a step.
//   CODE_BYTES 2: code in -127..127, one int8.  4: code = 256 * high + low in -32512..32512, two int8
//   3: in steps of 16 to +-28672. Of two neighbouring columns the even one's code is 256 * high + low, the odd one's 256 * high + 16 * low, low
//      in 0..255 the same: a byte of two weights, q of the even column + 16 * that of the odd one, meets it as it lies.
//   units [COLS/32], which whoever writes declares, of CODE_BYTES + 1 vec4u, which lie as unit_layout says: the even and the odd columns'
//   only or high int8; the low ones of both, or of the even and the odd columns; then (scale, excess, sum, 0)
// Word i of a vec4u holds columns 8i + (0, 2, 4, 6), odd ones + 1, lowest bits first: the order in which two masks take the
// nibbles out of a word of weights. sum is the exact sum(x); excess = 8 * (sum(x) - scale * sum(code)) makes the product
// with weights q as accurate as that with q - 8.
// Four threads share a unit, of which a workgroup writes EMITTERS / 4: one would take longer than all else at a kernel's end.
alias Emitted = u32;
var<workgroup> quarterMost: array<f32, EMITTERS>;
var<workgroup> quarterSums: array<f32, EMITTERS>;
var<workgroup> quarterCodes: array<i32, EMITTERS>;

/// Eight neighbouring columns: the highest plane's words, the other's (`evenLow` where they share one), and sums of codes.
struct Codes { even: u32, odd: u32, evenLow: u32, oddLow: u32, sum: vec4i };

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
    let range = select(127.0, select(32512.0, 1791.0, CODE_BYTES == 3u), CODE_BYTES > 2u); // in steps
    scale = largest / (range * select(1.0, 16.0, CODE_BYTES == 3u));
    let codes = codesOf(a, b, select(range / largest, 0.0, largest < 1e-30));
    quarterCodes[thread] = (codes.sum.x + codes.sum.y) + (codes.sum.z + codes.sum.w);
    units[at] = codes.even;
    units[at + 4u * pieceStep] = codes.odd;
    if (CODE_BYTES >= 3u) { units[at + 8u * pieceStep] = codes.evenLow; }
    if (CODE_BYTES == 4u) { units[at + 12u * pieceStep] = codes.oddLow; }
  }
  workgroupBarrier();
  if (!writes) { return; }
  let codes = (quarterCodes[first] + quarterCodes[first + 1u]) + (quarterCodes[first + 2u] + quarterCodes[first + 3u]);
  let sum = (quarterSums[first] + quarterSums[first + 1u]) + (quarterSums[first + 2u] + quarterSums[first + 3u]);
  let last = vec4f(scale, 8.0 * (sum - scale * f32(codes)), sum, 0.0);
  units[at + 4u * CODE_BYTES * pieceStep] = bitcast<u32>(last[quarter]);
}
