// moe_down_sum_q4: all that a mixture adds to the residual stream of one token, for 4-bit affine weights: moe_down_q4 of the chosen experts,
// the shared expert's down after its SwiGLU, and moe_combine of both, so that nothing in between is written.
//   x [CHOSEN * COLS] f32;  projected: gate, up [COLS] and sharedGate [1] f32 from units GATE, UP and SHARED_GATE on, 16 bytes each
//   picks [CHOSEN] u32;  slots [experts] u32, ABSENT where the expert is in no slot: it adds nothing;  weights [CHOSEN] f32
//   y [OUT] f32, the residual stream, added to: the rows of this part of the shared expert's matrix.  32 divides GROUP, GROUP divides COLS; LANES 8 or more
// A workgroup takes eight rows; a team takes one expert at a time, the shared one being the last. How lanes share the columns is in row_blocks.
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
var<workgroup> outs: array<f32, (CHOSEN + 1u) * 8u>;

/// What a lane adds to rows [row, row + 4) and the four behind them.
struct Eight { low: vec4f, high: vec4f };

fn addExpert(choice: u32, slot: u32, row: u32, lane: u32) -> Eight {
  var sums = Eight();
  chooseExpert(slot);
  for (var t = 0u; t < COUNT; t++) {
    let unit = t * LANES + lane;
    if (unit < UNITS) {
      let a = readRows(row, unit);
      let b = readRows(row + 4u, unit);
      let xs = readUnit(choice * UNITS + unit);
      sums.low += addRows(a, xs);
      sums.high += addRows(b, xs);
    }
  }
  return sums;
}

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

fn addShared(row: u32, lane: u32) -> Eight {
  var sums = Eight();
  chooseShared();
  for (var t = 0u; t < COUNT; t++) {
    let unit = t * LANES + lane;
    if (unit < UNITS) {
      let a = readRows(row, unit);
      let b = readRows(row + 4u, unit);
      let xs = sharedUnit(unit);
      sums.low += addRows(a, xs);
      sums.high += addRows(b, xs);
    }
  }
  return sums;
}

@compute @workgroup_size(THREADS)
fn main(thread: Thread, @builtin(workgroup_id) wg: vec3u) {
  let place = placeOf(thread.index, 0u); // for its team and lane
  let row = wg.x * 8u; // of this part
  let part = records[0].a;
  for (var round = 0u; round < ROUNDS; round++) {
    let choice = round * TEAMS + place.team;
    var sums = Eight();
    if (choice < CHOSEN) {
      let slot = slots[picks[choice]];
      if (slot != ABSENT) { sums = addExpert(choice, slot, part.w + row, place.lane); }
    } else if (choice == CHOSEN) {
      sums = addShared(row, place.lane);
    }
    teamPut(0u, sums.low, place, thread);
    teamPut(1u, sums.high, place, thread);
    let sum = teamSum(place, thread);
    if (place.lane < 8u && choice <= CHOSEN) { outs[choice * 8u + place.lane] = sum; }
    workgroupBarrier();
  }
  if (thread.index >= 8u || row + thread.index >= part.z) { return; }
  var sum = 0.0;
  for (var rank = 0u; rank < CHOSEN; rank++) { sum += weights[rank] * outs[rank * 8u + thread.index]; }
  let sharedGate = projected[SHARED_GATE].x;
  y[part.w + row + thread.index] += sum + outs[CHOSEN * 8u + thread.index] / (1.0 + exp(-sharedGate));
}
