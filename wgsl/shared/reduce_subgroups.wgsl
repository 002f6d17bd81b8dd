// reduce_subgroups: sums over the 64 lanes of a workgroup, first within each subgroup.
// Any subgroup size that divides 64, or 128; every lane ends with the total.
const LANES = 64u;
struct Lane { @builtin(local_invocation_index) index: u32, @builtin(subgroup_size) subgroupSize: u32 };
var<workgroup> partials: array<vec4f, 64>;

/// Subgroups in this workgroup.
fn subgroups(lane: Lane) -> u32 { return max(1u, 64u / lane.subgroupSize); }

fn reduceAdd(value: vec4f, lane: Lane) -> vec4f {
  let own = subgroupAdd(value);
  if (lane.index % lane.subgroupSize == 0u) { partials[lane.index / lane.subgroupSize] = own; }
  workgroupBarrier();
  var total = partials[0];
  for (var i = 1u; i < subgroups(lane); i++) { total += partials[i]; }
  workgroupBarrier(); // the next reduction writes partials
  return total;
}

fn reduceMax(value: f32, lane: Lane) -> f32 {
  let own = subgroupMax(value);
  if (lane.index % lane.subgroupSize == 0u) { partials[lane.index / lane.subgroupSize].x = own; }
  workgroupBarrier();
  var most = partials[0].x;
  for (var i = 1u; i < subgroups(lane); i++) { most = max(most, partials[i].x); }
  workgroupBarrier();
  return most;
}
