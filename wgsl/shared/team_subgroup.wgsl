// team_subgroup: sums over the LANES lanes of a team that is exactly one subgroup: no workgroup memory, no barrier.
override LARGEST: u32 = LANES;
struct Thread { @builtin(local_invocation_index) index: u32 };
/// Of the row that this lane writes.
var<private> total: f32;

/// Block `block` of the team has these sums of its rows in this lane.
fn teamPut(block: u32, sums: vec4f, at: Place, thread: Thread) {
  let own = subgroupRow(sums, thread.index, LANES);
  if (at.lane / 4u == block) { total = own; }
}

/// The sum of row `at.lane % 4` of block `at.lane / 4`.
fn teamSum(at: Place, thread: Thread) -> f32 { return total; }
