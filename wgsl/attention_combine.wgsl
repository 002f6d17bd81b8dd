// attention_combine: the parts that attention_split summed, as part_sums puts them together.
//   y [HEADS * HEAD_DIM] f32
@group(0) @binding(0) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(64)
fn main(lane: Lane, @builtin(workgroup_id) wg: vec3u) {
  let value = combined(wg.x * 8u, wg.y, lane);
  let quad = wg.x * 8u + lane.index;
  if (lane.index < 8u && quad < QUADS) { y[wg.y * QUADS + quad] = value; }
}
