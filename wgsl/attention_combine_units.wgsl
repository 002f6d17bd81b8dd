// attention_combine_units: attention_combine for a product to read: what a workgroup puts together is one unit of 32 values.
//   units: y [HEADS * HEAD_DIM] as emit_* writes it.  32 divides HEAD_DIM
@group(0) @binding(0) var<storage, read_write> units: array<Emitted>;
const EMITTERS = 4u;
var<workgroup> quads: array<vec4f, 8>;

@compute @workgroup_size(64)
fn main(lane: Lane, @builtin(workgroup_id) wg: vec3u) {
  let value = combined(wg.x * 8u, wg.y, lane);
  if (lane.index < 8u) { quads[lane.index] = value; }
  workgroupBarrier();
  let quad = lane.index % EMITTERS * 2u;
  emit(wg.y * (QUADS / 8u) + wg.x, lane.index, lane.index < EMITTERS, quads[quad], quads[quad + 1u]);
}
