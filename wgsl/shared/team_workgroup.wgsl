// team_workgroup: sums over the LANES lanes of each of the TEAMS teams of a workgroup, through workgroup memory.
// All blocks at once in two rounds, first to eight partial sums of a block: any LANES that 8 divides, or 4.
override PARTS: u32 = min(LANES, 8u);
override GATHERS: u32 = (BLOCKS * PARTS + LANES - 1u) / LANES;
struct Thread { @builtin(local_invocation_index) index: u32 };
/// [block, team, lane].
var<workgroup> partials: array<vec4f, BLOCKS * THREADS>;

/// Block `block` of the team has these sums of its rows in this lane.
fn teamPut(block: u32, sums: vec4f, at: Place, thread: Thread) { partials[block * THREADS + thread.index] = sums; }

/// The sum of row `at.lane % 4` of block `at.lane / 4`.
fn teamSum(at: Place, thread: Thread) -> f32 {
  workgroupBarrier();
  for (var g = 0u; g < GATHERS; g++) {
    let item = g * LANES + at.lane;
    if (item < BLOCKS * PARTS) { gather(item / PARTS * THREADS + at.team * LANES + item % PARTS); }
  }
  workgroupBarrier();
  if (at.lane >= 4u * BLOCKS) { return 0.0; }
  let first = at.lane / 4u * THREADS + at.team * LANES;
  var sum = 0.0;
  for (var i = 0u; i < PARTS; i++) { sum += partials[first + i][at.lane % 4u]; }
  return sum;
}

/// Adds every PARTSth partial sum after partials[first] to it.
fn gather(first: u32) {
  var sum = partials[first];
  for (var i = 1u; i < LANES / PARTS; i++) { sum += partials[first + i * PARTS]; }
  partials[first] = sum;
}
