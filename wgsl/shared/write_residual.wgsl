// write_residual: what gemv_q4_* make of their sums where y is the residual stream and an RMSNorm comes next: y += sums, and what weigh
// makes of it. A workgroup has 32 rows, one unit; record.b.w is where the norm's w begins in `parameters`.
@group(0) @binding(2) var<storage, read_write> units: array<Emitted>;
@group(0) @binding(3) var<storage, read_write> squares: array<f32>;
const EMITTERS = 4u;
var<workgroup> stream: array<f32, 32>;

fn streamed(quad: u32) -> vec4f {
  return vec4f(stream[4u * quad], stream[4u * quad + 1u], stream[4u * quad + 2u], stream[4u * quad + 3u]);
}

/// Before the weights are read: nothing.
fn begin(place: Place) {}

fn finish(place: Place, thread: Thread) {
  let own = place.lane / 4u * ROWS + place.lane % 4u;
  let adds = place.lane < 4u * ROW_BLOCKS && place.lane % 4u < ROWS;
  let unit = (record.a.w + place.row) / 32u;
  let emits = thread.index < EMITTERS;
  let i = record.a.w + place.row + own;
  // Both are on their way while the sums are.
  var before = 0.0;
  if (adds) { before = y[i]; }
  var w = Quarter();
  if (emits) { w = ownWeights(record.b.w, unit, thread.index); }
  let value = before + teamSum(place, thread);
  if (adds) {
    y[i] = value;
    stream[place.team * ROWS * ROW_BLOCKS + own] = value;
  }
  workgroupBarrier();
  let quad = thread.index % EMITTERS * 2u;
  weigh(unit, thread.index, emits, Quarter(streamed(quad), streamed(quad + 1u)), w);
}
