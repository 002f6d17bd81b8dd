// write_residual: what gemv_q4_* make of their sums where y is the residual stream and an RMSNorm comes next: y += sums, and what weigh
// makes of it. A workgroup has 32 rows, one unit; record.b.w is where the norm's w begins in `parameters`.
@group(0) @binding(2) var<storage, read_write> units: array<Emitted>;
@group(0) @binding(3) var<storage, read_write> squares: array<f32>;
var<workgroup> stream: array<f32, 32>;

fn streamed(quad: u32) -> vec4f {
  return vec4f(stream[4u * quad], stream[4u * quad + 1u], stream[4u * quad + 2u], stream[4u * quad + 3u]);
}

fn finish(place: Place, thread: Thread) {
  let sum = teamSum(place, thread);
  let own = place.lane / 4u * ROWS + place.lane % 4u;
  if (place.lane < 4u * ROW_BLOCKS && place.lane % 4u < ROWS) {
    let i = record.a.w + place.row + own;
    let value = sum + y[i];
    y[i] = value;
    stream[place.team * ROWS * ROW_BLOCKS + own] = value;
  }
  workgroupBarrier();
  if (thread.index > 0u) { return; }
  weigh((record.a.w + place.row) / 32u, record.b.w, Values(
    streamed(0u), streamed(1u), streamed(2u), streamed(3u), streamed(4u), streamed(5u), streamed(6u), streamed(7u)));
}
