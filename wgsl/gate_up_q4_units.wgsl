// gate_up_q4_units: the first half of a feed-forward layer for one token: y = silu(gate x) * (up x), x the weighed half of an RMSNorm.
//   x [COLS/32] units as emit_f32x32 or emit_int writes them, squares [COLS/32] f32 as weigh does;  units: y [rows] as emit_* writes it
//   weights: records 0 and 1 are gate and up, of the same rows, matrix_affine with BITS 4; record.a.w: the row of y they begin with
//   32 divides GROUP and the rows, GROUP divides COLS
// A team of LANES lanes takes ROWS rows of gate and as many of up, which meet the same x; a workgroup has 32 rows, one unit of y. Sums over
// a team come from team_*: gate's are block 0, up's block 1, that of the squares is the first of block 2.
override AHEAD: bool; // see gemv_q4_units
override COUNT: u32 = (UNITS + LANES - 1u) / LANES;
@group(0) @binding(0) var<storage, read> x: array<vec4u>;
@group(0) @binding(1) var<storage, read> squares: array<f32>;
@group(0) @binding(2) var<storage, read_write> units: array<Emitted>;
const EMITTERS = 4u;
/// [team]: rows of gate from 0, of up from 4 on, then the squares.
var<workgroup> sums: array<f32, TEAMS * 9u>;
var<workgroup> y: array<f32, 32>;

fn valuesOf(quad: u32) -> vec4f { return vec4f(y[4u * quad], y[4u * quad + 1u], y[4u * quad + 2u], y[4u * quad + 3u]); }

/// A unit of each row of both matrices.
struct Pair { gate: Rows, up: Rows };

fn readPair(row: u32, unit: u32) -> Pair {
  record = records[0];
  let gate = readRows(row, unit);
  record = records[1];
  return Pair(gate, readRows(row, unit));
}

@compute @workgroup_size(THREADS)
fn main(thread: Thread, @builtin(workgroup_id) wg: vec3u) {
  let team = thread.index / LANES;
  let place = Place((wg.x * TEAMS + team) * ROWS, team, thread.index % LANES);
  record = records[1]; // behind up lies what follows
  let ahead = askAhead(wg.x, thread.index);
  var gate = vec4f();
  var up = vec4f();
  var own = Pair();
  if (AHEAD) { own = readPair(place.row, min(place.lane, UNITS - 1u)); }
  for (var t = 0u; t < COUNT; t++) {
    let unit = t * LANES + place.lane;
    var next = own;
    if (AHEAD) { next = readPair(place.row, min(unit + LANES, UNITS - 1u)); }
    if (unit < UNITS) {
      if (!AHEAD) { own = readPair(place.row, unit); }
      let xs = readUnit(unit);
      gate += addRows(own.gate, xs);
      up += addRows(own.up, xs);
    }
    own = next;
  }
  gate.x += zeroOf(ahead);
  teamPut(0u, gate, place, thread);
  teamPut(1u, up, place, thread);
  teamPut(2u, ownSquares(place), place, thread);
  let sum = teamSum(place, thread);
  if (place.lane < 9u) { sums[team * 9u + place.lane] = sum; }
  workgroupBarrier();
  if (place.lane < ROWS) {
    let scale = normScale(sums[team * 9u + 8u]);
    let g = sum * scale;
    y[team * ROWS + place.lane] = g / (1.0 + exp(-g)) * (sums[team * 9u + 4u + place.lane] * scale);
  }
  workgroupBarrier();
  let quad = thread.index % EMITTERS * 2u;
  emit((records[0].a.w + wg.x * 32u) / 32u, thread.index, thread.index < EMITTERS, valuesOf(quad), valuesOf(quad + 1u));
}
