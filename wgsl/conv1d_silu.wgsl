// conv1d_silu: causal depthwise convolution over time (kernel 4), then SiLU, carrying the last three inputs as state.
//   x [tokens, CHANNELS] f32;  y [tokens, CHANNELS] f32;  state [slots, 3, CHANNELS] f32, oldest first, before the convolution
//   weights: record.a.x = w [CHANNELS, 4] f32; tap 3 multiplies the current token
// One thread per channel walks the tokens with the window in registers, so source and target slot may be the same.
override CHANNELS: u32;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> state: array<f32>;
@group(0) @binding(3) var<uniform> step: Step;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let channel = id.x;
  if (channel >= CHANNELS) { return; }
  let w = parameter4(record.a.x + channel);
  let source = step.sourceSlot * 3u * CHANNELS + channel;
  var window = vec4f(0.0, state[source], state[source + CHANNELS], state[source + 2u * CHANNELS]);
  for (var token = 0u; token < step.tokens; token++) {
    window = vec4f(window.yzw, x[token * CHANNELS + channel]);
    let sum = dot(w, window);
    y[token * CHANNELS + channel] = sum / (1.0 + exp(-sum));
  }
  let goal = step.targetSlot * 3u * CHANNELS + channel;
  state[goal] = window.y; state[goal + CHANNELS] = window.z; state[goal + 2u * CHANNELS] = window.w;
}
