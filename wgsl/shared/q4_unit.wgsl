// q4_unit: a unit is one vec4u of a row, 32 neighbouring 4-bit weights, and the 32 values of x that it meets.
// Shifts and conversions run at a quarter or half of the rate of and, or, add and fma on most GPUs. Per weight:
//   otherwise  mask and or (one instruction on NVIDIA), subtract, fma; a shift per eight. Nibble j of a half word stays where it is, as the
//              last bits of a number whose exponent makes it count once: q is exact.
//   FOLDED     mask and or, fma; four shifts per eight. The nibble becomes 2^7 + q or 2^11 + q, and what
//              that adds is subtracted once per unit, for all rows: sums lose up to eight bits (about 1e-5 of the result).
override FOLDED: bool;

/// x of 32 columns; sum(x), and what FOLDED adds too much: sum(x) weighted by its powers of two.
struct Unit { x0: vec4f, x1: vec4f, x2: vec4f, x3: vec4f, x4: vec4f, x5: vec4f, x6: vec4f, x7: vec4f, sum: f32, excess: f32 };

const powers = vec4f(128.0, 2048.0, 128.0, 2048.0);

/// (sum, excess) of a unit.
fn unitSums(x: Unit) -> vec2f {
  let sums = (x.x0 + x.x1 + x.x2 + x.x3) + (x.x4 + x.x5 + x.x6 + x.x7);
  return vec2f(dot(sums, vec4f(1.0)), dot(sums, powers));
}

/// Four nibbles: component j of `words` holds one at the bits of mask j, with junk around it.
fn folded(words: vec4u) -> vec4f {
  let masked = words & vec4u(0xf0000u, 0xf000u, 0xf0000u, 0xf000u);
  return bitcast<vec4f>(masked | vec4u(0x43000000u, 0x45000000u, 0x43000000u, 0x45000000u));
}

/// The four nibbles of the low half of w.
fn exact(w: u32) -> vec4f {
  let masked = vec4u(w) & vec4u(0xfu, 0xf0u, 0xf00u, 0xf000u);
  let magic = vec4u(0x4b000000u, 0x49000000u, 0x47000000u, 0x45000000u); // 2^23, 2^19, 2^15, 2^11
  return bitcast<vec4f>(masked | magic) - vec4f(8388608.0, 524288.0, 32768.0, 2048.0);
}

/// Nibbles 0 to 3 of w, as weights of the result of unitDot.
fn low(w: u32) -> vec4f {
  if (FOLDED) { return folded(vec4u(w << 16u, w << 8u, w << 8u, w)); }
  return exact(w);
}

/// Nibbles 4 to 7.
fn high(w: u32) -> vec4f {
  if (FOLDED) { return folded(vec4u(w, w >> 8u, w >> 8u, w >> 16u)); }
  return low(w >> 16u);
}

/// sum(q * x).
fn unitDot(w: vec4u, x: Unit) -> f32 {
  var sum = low(w.x) * x.x0;
  sum = fma(high(w.x), x.x1, sum);
  sum = fma(low(w.y), x.x2, sum);
  sum = fma(high(w.y), x.x3, sum);
  sum = fma(low(w.z), x.x4, sum);
  sum = fma(high(w.z), x.x5, sum);
  sum = fma(low(w.w), x.x6, sum);
  sum = fma(high(w.w), x.x7, sum);
  return dot(sum, vec4f(1.0)) - select(0.0, x.excess, FOLDED);
}
