// write_row_convolved: write_row of all that a delta rule reads: behind the rows of q, k and v comes the causal depthwise convolution over
// time (kernel 4) and SiLU as conv1d_silu. They concern a row alone, so the lane that has its sum moves its window on.
//   y f32, row r of this part at record.a.w + r: the first CHANNELS of it are q, k, v
//   state [slots, 3, CHANNELS] f32, the last three inputs, oldest first: moves from step.sourceSlot to step.targetSlot
//   weights: record.b.z is where the convolution's w [CHANNELS, 4] f32 begins in `parameters`
// Whoever writes declares `state` and `step`. A step of no tokens leaves the state as it is.
override CHANNELS: u32;
/// Of this lane's row: its last three inputs, and its taps.
var<private> window: vec3f;
var<private> taps: vec4f;

fn ownRow(place: Place) -> u32 { return place.row + place.lane / 4u * ROWS + place.lane % 4u; }

/// Lane 4b + r of a team has row r of its block b.
fn hasRow(place: Place) -> bool {
  return place.lane < 4u * ROW_BLOCKS && place.lane % 4u < ROWS && ownRow(place) < record.a.z;
}

/// Asks for what the end needs; before the weights, so that it is there by then.
fn begin(place: Place) {
  let channel = record.a.w + ownRow(place);
  if (!hasRow(place) || channel >= CHANNELS) { return; }
  let source = step.sourceSlot * 3u * CHANNELS + channel;
  window = vec3f(state[source], state[source + CHANNELS], state[source + 2u * CHANNELS]);
  taps = parameter4(record.b.z + channel);
}

fn writeRow(sum: f32, place: Place) {
  if (!hasRow(place)) { return; }
  let channel = record.a.w + ownRow(place);
  if (channel < CHANNELS) { y[channel] = convolved(channel, sum); } else { y[channel] = sum; }
}

fn convolved(channel: u32, now: f32) -> f32 {
  let goal = step.targetSlot * 3u * CHANNELS + channel;
  let next = select(window, vec3f(window.yz, now), step.tokens > 0u);
  state[goal] = next.x;
  state[goal + CHANNELS] = next.y;
  state[goal + 2u * CHANNELS] = next.z;
  let sum = dot(taps, vec4f(window, now));
  return sum / (1.0 + exp(-sum));
}
