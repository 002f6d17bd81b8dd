// rms_norm: y = x * (mean(x^2) + EPS)^-1/2 * w, per token.
//   x [.., COLS] f32, read from row step.firstRow on;  y [tokens, COLS] f32
//   weights: record.a.x = w [COLS] f32 (the final multiplier: a zero-centred checkpoint's 1 was added at load)
// One workgroup per token. 4 divides COLS.
override COLS: u32; override EPS: f32;
override QUADS: u32 = COLS / 4u;
override STEPS: u32 = (QUADS + LANES - 1u) / LANES;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<uniform> step: Step;

@compute @workgroup_size(LANES)
fn main(lane: Lane, @builtin(workgroup_id) wg: vec3u) {
  let source = (step.firstRow + wg.x) * QUADS;
  var squares = vec4f();
  for (var t = 0u; t < STEPS; t++) {
    let quad = t * LANES + lane.index;
    if (quad < QUADS) { squares += x[source + quad] * x[source + quad]; }
  }
  squares = reduceAdd(squares, lane);
  let scale = inverseSqrt(dot(squares, vec4f(1.0)) / f32(COLS) + EPS);
  for (var t = 0u; t < STEPS; t++) {
    let quad = t * LANES + lane.index;
    if (quad < QUADS) { y[wg.x * QUADS + quad] = x[source + quad] * scale * parameter4(record.a.x + quad); }
  }
}
