// team_subgroups: sums over the LANES lanes of a team that is one or several subgroups, of any size that divides LANES. They are added in
// pairs, as subgroupRow does within one: a driver chooses the size for each pipeline, and two that stand in for each other give the same bits.
override SMALLEST: u32; // lanes of the smallest subgroup that the device makes, 4 at least
override LARGEST: u32;
override SUBGROUPS: u32 = THREADS / SMALLEST;
struct Thread { @builtin(local_invocation_index) index: u32, @builtin(subgroup_size) subgroupSize: u32 };
/// [block, subgroup, row].
var<workgroup> partials: array<f32, BLOCKS * SUBGROUPS * 4u>;

/// Block `block` of the team has these sums of its rows in this lane.
fn teamPut(block: u32, sums: vec4f, at: Place, thread: Thread) {
  let own = subgroupRow(sums, thread.index, thread.subgroupSize);
  let lane = thread.index % thread.subgroupSize;
  if (lane < 4u) { partials[(block * SUBGROUPS + thread.index / thread.subgroupSize) * 4u + lane] = own; }
}

/// The sum of row `at.lane % 4` of block `at.lane / 4`.
fn teamSum(at: Place, thread: Thread) -> f32 {
  workgroupBarrier();
  if (at.lane >= 4u * BLOCKS) { return 0.0; }
  let count = LANES / thread.subgroupSize;
  let first = (at.lane / 4u * SUBGROUPS + at.team * count) * 4u + at.lane % 4u;
  var sums: array<f32, LANES / SMALLEST>;
  for (var i = 0u; i < count; i++) { sums[i] = partials[first + i * 4u]; }
  for (var width = 1u; width < count; width *= 2u) {
    for (var i = 0u; i + width < count; i += 2u * width) { sums[i] += sums[i + width]; }
  }
  return sums[0];
}
