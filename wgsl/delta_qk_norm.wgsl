// delta_qk_norm: L2 norm of each GatedDeltaNet query and key head, in place: q * KEY_DIM^-1/2 / |q|, k / |k|.
//   qkv [tokens, CHANNELS] f32: KEY_HEADS q heads, KEY_HEADS k heads of KEY_DIM each, then the values; 1e-6 is added to the sum
// One workgroup per (q or k head, token). 4 divides KEY_DIM and CHANNELS.
override KEY_HEADS: u32; override KEY_DIM: u32; override CHANNELS: u32;
override QUADS: u32 = KEY_DIM / 4u;
override STEPS: u32 = (QUADS + LANES - 1u) / LANES;
@group(0) @binding(0) var<storage, read_write> qkv: array<vec4f>;

@compute @workgroup_size(LANES)
fn main(lane: Lane, @builtin(workgroup_id) wg: vec3u) {
  let base = wg.y * (CHANNELS / 4u) + wg.x * QUADS;
  var squares = vec4f();
  for (var t = 0u; t < STEPS; t++) {
    let quad = t * LANES + lane.index;
    if (quad < QUADS) { squares += qkv[base + quad] * qkv[base + quad]; }
  }
  squares = reduceAdd(squares, lane);
  let scale = inverseSqrt(dot(squares, vec4f(1.0)) + 1e-6) * select(1.0, inverseSqrt(f32(KEY_DIM)), wg.x < KEY_HEADS);
  for (var t = 0u; t < STEPS; t++) {
    let quad = t * LANES + lane.index;
    if (quad < QUADS) { qkv[base + quad] *= scale; }
  }
}
