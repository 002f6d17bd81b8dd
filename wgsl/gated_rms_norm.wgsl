// gated_rms_norm: GatedDeltaNet's output norm, per value head: y = o * (mean(o^2) + EPS)^-1/2 * w * silu(z).
//   o, z, y [tokens, HEADS, DIM] f32;  weights: record.a.x = w [DIM] f32, plain (never zero-centred)
// One workgroup per (head, token). 4 divides DIM.
override HEADS: u32; override DIM: u32; override EPS: f32;
override QUADS: u32 = DIM / 4u;
override STEPS: u32 = (QUADS + LANES - 1u) / LANES;
@group(0) @binding(0) var<storage, read> o: array<vec4f>;
@group(0) @binding(1) var<storage, read> z: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(LANES)
fn main(lane: Lane, @builtin(workgroup_id) wg: vec3u) {
  let base = (wg.y * HEADS + wg.x) * QUADS;
  var squares = vec4f();
  for (var t = 0u; t < STEPS; t++) {
    let quad = t * LANES + lane.index;
    if (quad < QUADS) { squares += o[base + quad] * o[base + quad]; }
  }
  squares = reduceAdd(squares, lane);
  let scale = inverseSqrt(dot(squares, vec4f(1.0)) / f32(DIM) + EPS);
  for (var t = 0u; t < STEPS; t++) {
    let quad = t * LANES + lane.index;
    if (quad < QUADS) {
      let gate = z[base + quad];
      y[base + quad] = o[base + quad] * scale * parameter4(record.a.x + quad) * gate / (1.0 + exp(-gate));
    }
  }
}
