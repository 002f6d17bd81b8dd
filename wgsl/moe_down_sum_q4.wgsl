// moe_down_sum_q4: all that a mixture adds to the residual stream of one token, for 4-bit affine weights: moe_down_q4 of the chosen experts,
// the shared expert's down after its SwiGLU, and moe_combine of both, so that nothing in between is written.
//   x [CHOSEN * COLS] f32;  projected: gate, up [COLS] and sharedGate [1] f32 from units GATE, UP and SHARED_GATE on, 16 bytes each
//   picks [CHOSEN] u32;  slots [experts] u32, ABSENT where the expert is in no slot: it adds nothing;  weights [CHOSEN] f32
//   y [OUT] f32, the residual stream, added to: the rows of this part of the shared expert's matrix.  32 divides GROUP, GROUP divides COLS; LANES 8 or more
// A workgroup takes four rows; a team takes one expert at a time, the shared one being the last. How lanes share the columns is in row_blocks.
// One loop serves both kinds of expert: written out for each, the kernels of a layer no longer fit into a GPU's instruction cache together.
override CHOSEN: u32; override GATE: u32; override UP: u32; override SHARED_GATE: u32;
override COUNT: u32 = (UNITS + LANES - 1u) / LANES;
override ROUNDS: u32 = (CHOSEN + TEAMS) / TEAMS;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> projected: array<vec4f>;
@group(0) @binding(2) var<storage, read> picks: array<u32>;
@group(0) @binding(3) var<storage, read> slots: array<u32>;
@group(0) @binding(4) var<storage, read> weights: array<f32>;
@group(0) @binding(5) var<storage, read> pool: array<vec4u>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
/// [expert, row]; the shared expert comes last.
var<workgroup> outs: array<f32, (CHOSEN + 1u) * 4u>;

/// silu(gate) * up.
fn activated(quad: u32) -> vec4f {
  let gate = projected[GATE + quad];
  return gate / (1.0 + exp(-gate)) * projected[UP + quad];
}

fn sharedUnit(unit: u32) -> Unit {
  let i = unit * 8u;
  var u = Unit(activated(i), activated(i + 1u), activated(i + 2u), activated(i + 3u),
    activated(i + 4u), activated(i + 5u), activated(i + 6u), activated(i + 7u), 0.0, 0.0);
  let sums = unitSums(u);
  u.sum = sums.x;
  u.excess = sums.y;
  return u;
}

/// Unit `unit` of what expert `choice` reads.
fn unitOf(choice: u32, unit: u32) -> Unit {
  if (choice == CHOSEN) { return sharedUnit(unit); }
  return readUnit(choice * UNITS + unit);
}

/// What a lane adds to rows [row, row + 4) of the matrix that was chosen.
fn addExpert(choice: u32, row: u32, lane: u32) -> vec4f {
  var sums = vec4f();
  for (var t = 0u; t < COUNT; t++) {
    let unit = t * LANES + lane;
    if (unit < UNITS) { sums += addRows(readRows(row, unit), unitOf(choice, unit)); }
  }
  return sums;
}

@compute @workgroup_size(THREADS)
fn main(thread: Thread, @builtin(workgroup_id) wg: vec3u) {
  let place = placeOf(thread.index, 0u); // for its team and lane
  let row = wg.x * 4u; // of this part
  let part = records[0].a;
  for (var round = 0u; round < ROUNDS; round++) {
    let choice = round * TEAMS + place.team;
    var sums = vec4f();
    var slot = ABSENT;
    if (choice < CHOSEN) { slot = slots[picks[choice]]; }
    if (choice == CHOSEN) { chooseShared(); } else if (slot != ABSENT) { chooseExpert(slot); }
    if (choice == CHOSEN || slot != ABSENT) { sums = addExpert(choice, row + select(part.w, 0u, choice == CHOSEN), place.lane); }
    teamPut(0u, sums, place, thread);
    let sum = teamSum(place, thread);
    if (place.lane < 4u && choice <= CHOSEN) { outs[choice * 4u + place.lane] = sum; }
    workgroupBarrier();
  }
  if (thread.index >= 4u || row + thread.index >= part.z) { return; }
  var sum = 0.0;
  for (var rank = 0u; rank < CHOSEN; rank++) { sum += weights[rank] * outs[rank * 4u + thread.index]; }
  let sharedGate = projected[SHARED_GATE].x;
  y[part.w + row + thread.index] += sum + outs[CHOSEN * 4u + thread.index] / (1.0 + exp(-sharedGate));
}
