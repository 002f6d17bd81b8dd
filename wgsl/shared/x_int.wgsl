// x_int: an x of integers as emit_int writes them, for row_blocks: what of it a unit is, and what it gives with 32 weights.
// Two masks and two dot products a plane take eight weights: with up to two planes a third or half of the instructions of the f32 forms.

/// Codes of the even and of the odd columns; those of the lower planes, in `evenLow` where both share one.
struct Unit {
  even: vec4u, odd: vec4u, evenLow: vec4u, oddLow: vec4u, evenLast: vec4u, oddLast: vec4u, scale: f32, excess: f32, sum: f32,
};

fn readUnit(unit: u32) -> Unit {
  let at = firstPiece(unit);
  let s = bitcast<vec4f>(x[at + CODE_BYTES * pieceStep]);
  var u = Unit(x[at], x[at + pieceStep], vec4u(), vec4u(), vec4u(), vec4u(), s.x, s.y, s.z);
  if (CODE_BYTES >= 3u) { u.evenLow = x[at + 2u * pieceStep]; }
  if (CODE_BYTES >= 4u) { u.oddLow = x[at + 3u * pieceStep]; }
  if (CODE_BYTES == 6u) {
    u.evenLast = x[at + 4u * pieceStep];
    u.oddLast = x[at + 5u * pieceStep];
  }
  return u;
}

/// Of eight weights.
fn wordDot(w: u32, even: u32, odd: u32) -> i32 {
  return dot4I8Packed(w & 0x0f0f0f0fu, even) + dot4I8Packed((w >> 4u) & 0x0f0f0f0fu, odd);
}

fn plane(w: vec4u, even: vec4u, odd: vec4u) -> i32 {
  return wordDot(w.x, even.x, odd.x) + wordDot(w.y, even.y, odd.y) + wordDot(w.z, even.z, odd.z) + wordDot(w.w, even.w, odd.w);
}

/// Bytes of two weights, as they lie, times what their columns share.
fn sharedPlane(w: vec4u, low: vec4u) -> i32 {
  return i32(dot4U8Packed(w.x, low.x) + dot4U8Packed(w.y, low.y) + dot4U8Packed(w.z, low.z) + dot4U8Packed(w.w, low.w));
}

/// sum(q * x). The integer, of two planes at most, stays below 2^24, which f32 holds exactly.
fn unitDot(w: vec4u, x: Unit) -> f32 {
  var sum = plane(w, x.even, x.odd);
  if (CODE_BYTES == 3u) { sum = sum * 256 + sharedPlane(w, x.evenLow); }
  if (CODE_BYTES >= 4u) { sum = sum * 256 + plane(w, x.evenLow, x.oddLow); }
  var all = f32(sum);
  if (CODE_BYTES == 6u) { all = fma(all, 256.0, f32(plane(w, x.evenLast, x.oddLast))); }
  return fma(all, x.scale, x.excess);
}
