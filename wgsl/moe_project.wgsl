// moe_project: RMSNorm of one token and the matrices of a mixture that read it: router and shared gate in 8 or 4 bits, the shared expert's
// gate and up in 4 bits.
//   x [COLS] f32;  normed [COLS] f32 = x * (mean(x^2) + EPS)^-1/2 * w;  y f32, row r of a matrix at record.a.w + r
//   saved [COLS] f32 = x, from which the token can be computed again once experts that it misses have come
//   weights: up to four records, 32 divides their groups, which divide COLS; record.b.w is where w [COLS] f32 begins in `parameters`
// A team of LANES lanes takes four rows, one block; how x and the norm are found is in x_normed, how lanes share the columns in row_blocks.
override COUNT: u32 = (UNITS + LANES - 1u) / LANES;
@group(0) @binding(1) var<storage, read_write> normed: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> saved: array<vec4f>;

/// Sixteen 8-bit weights.
fn bytesDot(w: vec4u, x0: vec4f, x1: vec4f, x2: vec4f, x3: vec4f) -> f32 {
  return (dot(vec4f(unpack4xU8(w.x)), x0) + dot(vec4f(unpack4xU8(w.y)), x1))
    + (dot(vec4f(unpack4xU8(w.z)), x2) + dot(vec4f(unpack4xU8(w.w)), x3));
}

/// What unit `unit` adds to row `row` of an 8-bit matrix; rows past the end repeat the last one.
fn addBytes(row: u32, unit: u32, u: Unit) -> f32 {
  let own = min(row, record.a.z - 1u);
  let at = record.a.x + 2u * (own * UNITS + unit);
  let pair = scaleBias(own * record.b.y + unit * record.b.y / UNITS);
  let sum = bytesDot(slabUnit(at), u.x0, u.x1, u.x2, u.x3) + bytesDot(slabUnit(at + 1u), u.x4, u.x5, u.x6, u.x7);
  return fma(sum, pair.x, u.sum * pair.y);
}

@compute @workgroup_size(THREADS)
fn main(thread: Thread, @builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let place = placeOf(thread.index, wg.x);
  stageNormed(thread.index);
  let bytes = record.b.x * 4u == COLS;
  let row = place.row;
  var sums = vec4f();
  for (var t = 0u; t < COUNT; t++) {
    let unit = t * LANES + place.lane;
    if (unit < UNITS) {
      let u = tileUnit(unit);
      if (bytes) {
        sums += vec4f(addBytes(row, unit, u), addBytes(row + 1u, unit, u), addBytes(row + 2u, unit, u), addBytes(row + 3u, unit, u));
      } else {
        sums += addRows(readRows(row, unit), u);
      }
    }
  }
  teamPut(0u, sums, place, thread);
  let scale = normScale();
  writeRow(teamSum(place, thread) * scale, place);
  let share = (COLS / 4u + grid.x - 1u) / grid.x; // of what is written once, each workgroup some
  let end = min((wg.x + 1u) * share, COLS / 4u);
  for (var i = wg.x * share + thread.index; i < end; i += THREADS) {
    normed[i] = tileQuad(i) * scale;
    saved[i] = x[i];
  }
}
