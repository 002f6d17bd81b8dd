// gated_norm_units: gated_rms_norm of one token: per value head y = o * (mean(o^2) + EPS)^-1/2 * w * silu(z).
//   o, z [HEADS, DIM] f32;  y [HEADS * DIM] as emit_f32 or emit_int writes it;  weights: record.a.x = w [DIM] f32, plain
// One thread per unit of 32 values; DIM / 32 neighbours share a head and its sum. 32 divides DIM, and DIM / 32 divides 64.
override HEADS: u32; override DIM: u32; override EPS: f32;
override UNITS: u32 = DIM / 32u; // of a head
@group(0) @binding(1) var<storage, read> o: array<vec4f>;
@group(0) @binding(2) var<storage, read> z: array<vec4f>;
var<workgroup> partials: array<f32, 64>;

fn squares(at: u32) -> f32 {
  var sum = vec4f();
  for (var i = 0u; i < 8u; i++) { sum += o[at + i] * o[at + i]; }
  return dot(sum, vec4f(1.0));
}

fn value(at: u32, i: u32, w: u32, scale: f32) -> vec4f {
  let gate = z[at + i];
  return o[at + i] * scale * parameter4(w + i) * gate / (1.0 + exp(-gate));
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_index) thread: u32) {
  let unit = id.x;
  let inside = unit < HEADS * UNITS;
  let at = unit * 8u;
  if (inside) { partials[thread] = squares(at); }
  workgroupBarrier();
  if (!inside) { return; }
  let first = thread / UNITS * UNITS;
  var sum = partials[first];
  for (var i = 1u; i < UNITS; i++) { sum += partials[first + i]; }
  let s = inverseSqrt(sum / f32(DIM) + EPS);
  let w = record.a.x + unit % UNITS * 8u;
  emit(unit, Values(
    value(at, 0u, w, s), value(at, 1u, w, s), value(at, 2u, w, s), value(at, 3u, w, s),
    value(at, 4u, w, s), value(at, 5u, w, s), value(at, 6u, w, s), value(at, 7u, w, s)));
}
