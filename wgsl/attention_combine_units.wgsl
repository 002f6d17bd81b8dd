// attention_combine_units: attention_combine for a product to read: what a workgroup puts together is one unit of 32 values.
//   units: y [HEADS * HEAD_DIM] as emit_* writes it.  32 divides HEAD_DIM
@group(0) @binding(0) var<storage, read_write> units: array<Emitted>;
var<workgroup> quads: array<vec4f, 8>;

@compute @workgroup_size(64)
fn main(lane: Lane, @builtin(workgroup_id) wg: vec3u) {
  let value = combined(wg.x * 8u, wg.y, lane);
  if (lane.index < 8u) { quads[lane.index] = value; }
  workgroupBarrier();
  if (lane.index > 0u) { return; }
  emit(wg.y * (QUADS / 8u) + wg.x, Values(quads[0], quads[1], quads[2], quads[3], quads[4], quads[5], quads[6], quads[7]));
}
