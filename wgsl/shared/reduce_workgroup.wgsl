// reduce_workgroup: sums over the 64 lanes of a workgroup without subgroups.
// Two rounds of eight: fewer barriers than a halving tree, and every lane ends with the total.
const LANES = 64u;
struct Lane { @builtin(local_invocation_index) index: u32 };
var<workgroup> partials: array<vec4f, 64>;
var<workgroup> octets: array<vec4f, 8>;

fn reduceAdd(value: vec4f, lane: Lane) -> vec4f {
  partials[lane.index] = value;
  workgroupBarrier();
  if (lane.index < 8u) {
    var sum = partials[lane.index];
    for (var i = 1u; i < 8u; i++) { sum += partials[lane.index + i * 8u]; }
    octets[lane.index] = sum;
  }
  workgroupBarrier();
  var total = octets[0];
  for (var i = 1u; i < 8u; i++) { total += octets[i]; }
  return total;
}

fn reduceMax(value: f32, lane: Lane) -> f32 {
  partials[lane.index].x = value;
  workgroupBarrier();
  if (lane.index < 8u) {
    var most = partials[lane.index].x;
    for (var i = 1u; i < 8u; i++) { most = max(most, partials[lane.index + i * 8u].x); }
    octets[lane.index].x = most;
  }
  workgroupBarrier();
  var most = octets[0].x;
  for (var i = 1u; i < 8u; i++) { most = max(most, octets[i].x); }
  return most;
}
