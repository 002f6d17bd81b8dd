// conv1d_silu: causal depthwise convolution over time (kernel 4), then SiLU, carrying the last three inputs as state.
//   x [tokens, CHANNELS] f32;  y [tokens, CHANNELS] f32;  state [slots, 3, CHANNELS] f32, oldest first, before the convolution
//   weights: record.a.x = w [CHANNELS, 4] f32; tap 3 multiplies the current token
// One thread per channel and BLOCK tokens walks them with the window in registers. Only the first block's threads know the state: each
// reads its channel's before it writes it, so source and target slot may be the same.
override CHANNELS: u32; override BLOCK: u32;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> state: array<f32>;
@group(0) @binding(3) var<uniform> step: Step;

/// Inputs before `token`, oldest first, in yzw; those before the step's first lie in `old` likewise.
fn windowBefore(token: u32, channel: u32, old: vec4f) -> vec4f {
  var window = old;
  for (var i = max(token, 3u) - 3u; i < token; i++) { window = vec4f(window.yzw, x[i * CHANNELS + channel]); }
  return window;
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let channel = id.x;
  if (channel >= CHANNELS) { return; }
  let first = id.y * BLOCK;
  var window = vec4f();
  if (first == 0u) {
    let source = step.sourceSlot * 3u * CHANNELS + channel;
    window = vec4f(0.0, state[source], state[source + CHANNELS], state[source + 2u * CHANNELS]);
    let after = windowBefore(step.tokens, channel, window);
    let goal = step.targetSlot * 3u * CHANNELS + channel;
    state[goal] = after.y; state[goal + CHANNELS] = after.z; state[goal + 2u * CHANNELS] = after.w;
  }
  window = windowBefore(first, channel, window);
  let w = parameter4(record.a.x + channel);
  for (var token = first; token < min(first + BLOCK, step.tokens); token++) {
    window = vec4f(window.yzw, x[token * CHANNELS + channel]);
    let sum = dot(w, window);
    y[token * CHANNELS + channel] = sum / (1.0 + exp(-sum));
  }
}
