// rms_norm_units: rms_norm of one token, as fast as one workgroup can: y = x * (mean(x^2) + EPS)^-1/2 * w.
//   x [.., COLS] f32, row step.firstRow;  units: y [COLS] as emit_* writes it
//   weights: record.a.x = w [COLS] f32 final multipliers
// A decode step on f32 waits for this before nearly every matrix product: 256 threads, four a unit of 32 values, each value read once where
// they have all of them (COLS <= 2048). 32 divides COLS.
override COLS: u32; override EPS: f32;
override UNITS: u32 = COLS / 32u;
override STEPS: u32 = (UNITS + 63u) / 64u;
const EMITTERS = 256u;
@group(0) @binding(0) var<storage, read_write> units: array<Emitted>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<uniform> step: Step;
var<workgroup> partials: array<f32, 256>;
var<workgroup> sums: array<f32, 16>;

/// Eight neighbouring values.
struct Quarter { a: vec4f, b: vec4f };

/// Eight values, from 8 * `eight` on.
fn valuesAt(eight: u32) -> Quarter {
  let at = step.firstRow * UNITS * 8u + 2u * eight;
  return Quarter(x[at], x[at + 1u]);
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

fn weighted(v: Quarter, eight: u32) -> Quarter {
  let w = record.a.x + 2u * eight;
  return Quarter(v.a * parameter4(w), v.b * parameter4(w + 1u));
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32) {
  var own = Quarter();
  var sum = 0.0;
  for (var i = thread; i < UNITS * 4u; i += 256u) {
    own = valuesAt(i);
    sum += dot(own.a * own.a + own.b * own.b, vec4f(1.0));
    own = weighted(own, i); // read before the wait
  }
  let scale = inverseSqrt(total(sum, thread) / f32(COLS) + EPS);
  for (var t = 0u; t < STEPS; t++) {
    let i = t * 256u + thread;
    let writes = i < UNITS * 4u;
    if (STEPS > 1u && writes) { own = weighted(valuesAt(i), i); }
    if (t > 0u) { workgroupBarrier(); } // what threads of a unit gave each other is still being read
    emit(i / 4u, thread, writes, own.a * scale, own.b * scale);
  }
}
