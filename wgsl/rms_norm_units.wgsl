// rms_norm_units: rms_norm of one token, as fast as one workgroup can: y = x * (mean(x^2) + EPS)^-1/2 * w.
//   x [.., COLS] f32, row step.firstRow;  units: y [COLS] as emit_* writes it
//   weights: record.a.x = w [COLS] f32 final multipliers
// A decode step on f32 waits for this before nearly every matrix product: 256 threads, whole units of 32 values, each read once where a
// thread has one (COLS <= 8192). 32 divides COLS.
override COLS: u32; override EPS: f32;
override UNITS: u32 = COLS / 32u;
override STEPS: u32 = (UNITS + 255u) / 256u;
@group(0) @binding(0) var<storage, read_write> units: array<Emitted>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<uniform> step: Step;
var<workgroup> partials: array<f32, 256>;
var<workgroup> sums: array<f32, 16>;

fn readUnit(unit: u32) -> Values {
  let at = step.firstRow * UNITS * 8u + unit * 8u;
  return Values(x[at], x[at + 1u], x[at + 2u], x[at + 3u], x[at + 4u], x[at + 5u], x[at + 6u], x[at + 7u]);
}

fn squares(v: Values) -> f32 {
  let sum = (v.v0 * v.v0 + v.v1 * v.v1 + v.v2 * v.v2 + v.v3 * v.v3) + (v.v4 * v.v4 + v.v5 * v.v5 + v.v6 * v.v6 + v.v7 * v.v7);
  return dot(sum, vec4f(1.0));
}

/// The sum over the workgroup, in every thread.
fn total(value: f32, thread: u32) -> f32 {
  partials[thread] = value;
  workgroupBarrier();
  if (thread < 16u) {
    var sum = partials[thread];
    for (var i = 1u; i < 16u; i++) { sum += partials[thread + 16u * i]; }
    sums[thread] = sum;
  }
  workgroupBarrier();
  var all = sums[0];
  for (var i = 1u; i < 16u; i++) { all += sums[i]; }
  return all;
}

fn weighted(v: Values, unit: u32) -> Values {
  let w = record.a.x + unit * 8u;
  return Values(
    v.v0 * parameter4(w), v.v1 * parameter4(w + 1u), v.v2 * parameter4(w + 2u), v.v3 * parameter4(w + 3u),
    v.v4 * parameter4(w + 4u), v.v5 * parameter4(w + 5u), v.v6 * parameter4(w + 6u), v.v7 * parameter4(w + 7u));
}

fn scaled(v: Values, scale: f32) -> Values {
  return Values(
    v.v0 * scale, v.v1 * scale, v.v2 * scale, v.v3 * scale, v.v4 * scale, v.v5 * scale, v.v6 * scale, v.v7 * scale);
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32) {
  var own = Values();
  var sum = 0.0;
  for (var t = 0u; t < STEPS; t++) {
    let unit = t * 256u + thread;
    if (unit < UNITS) {
      own = readUnit(unit);
      sum += squares(own);
      own = weighted(own, unit); // read before the wait
    }
  }
  let scale = inverseSqrt(total(sum, thread) / f32(COLS) + EPS);
  for (var t = 0u; t < STEPS; t++) {
    let unit = t * 256u + thread;
    if (unit < UNITS) {
      if (STEPS > 1u) { own = weighted(readUnit(unit), unit); }
      emit(unit, scaled(own, scale));
    }
  }
}
