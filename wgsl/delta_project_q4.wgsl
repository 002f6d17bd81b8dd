// delta_project_q4: norm_gemv_q4 of all that a delta rule reads, and behind the rows of q, k and v the causal depthwise convolution over time
// (kernel 4) and SiLU as conv1d_silu, which concern a row alone: the thread that has its sum moves its window on.
//   x: see norm_rows, where the loop is;  y f32, row r of a matrix at record.a.w + r: the first CHANNELS of it are q, k, v
//   state [slots, 3, CHANNELS] f32, the last three inputs, oldest first: moves from step.sourceSlot to step.targetSlot
//   weights: as there; record.b.z is where the convolution's w [CHANNELS, 4] f32 begins in `parameters`
// A step of no tokens leaves the state as it is.
override CHANNELS: u32;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> state: array<f32>;
@group(0) @binding(3) var<uniform> step: Step;

fn convolved(channel: u32, now: f32) -> f32 {
  let source = step.sourceSlot * 3u * CHANNELS + channel;
  let goal = step.targetSlot * 3u * CHANNELS + channel;
  let window = vec4f(state[source], state[source + CHANNELS], state[source + 2u * CHANNELS], now);
  let next = select(window.xyz, window.yzw, step.tokens > 0u);
  state[goal] = next.x;
  state[goal + CHANNELS] = next.y;
  state[goal + 2u * CHANNELS] = next.z;
  let sum = dot(parameter4(record.b.z + channel), window);
  return sum / (1.0 + exp(-sum));
}

@compute @workgroup_size(THREADS)
fn main(thread: Thread, @builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let place = placeOf(thread.index, wg.y * grid.x + wg.x); // workgroups past 65,535 fold into grid.y
  let sum = normedSum(place, thread);
  let row = place.row + place.lane;
  if (place.lane >= ROWS || row >= record.a.z) { return; }
  let at = record.a.w + row;
  if (at < CHANNELS) { y[at] = convolved(at, sum); } else { y[at] = sum; }
}
