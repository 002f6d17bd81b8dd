// moe_combine: what a mixture adds to the residual stream: chosen experts by weight, in the order of their rank whatever came first,
// and the shared expert by its gate.
//   experts [tokens * CHOSEN, COLS], weights [tokens, CHOSEN], sharedOut [tokens, COLS], sharedGate [tokens] f32;  hidden [tokens, COLS] f32, added to
// One thread per four columns of a token.
override COLS: u32; override CHOSEN: u32;
override QUADS: u32 = COLS / 4u;
@group(0) @binding(0) var<storage, read> experts: array<vec4f>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read> sharedOut: array<vec4f>;
@group(0) @binding(3) var<storage, read> sharedGate: array<f32>;
@group(0) @binding(4) var<storage, read_write> hidden: array<vec4f>;
@group(0) @binding(5) var<uniform> step: Step;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) thread: u32) {
  let i = (wg.y * grid.x + wg.x) * 64u + thread; // workgroups past 65,535 fold into grid.y
  let token = i / QUADS;
  if (token >= step.tokens) { return; }
  let quad = i % QUADS;
  var sum = vec4f();
  for (var rank = 0u; rank < CHOSEN; rank++) {
    let choice = token * CHOSEN + rank;
    sum += weights[choice] * experts[choice * QUADS + quad];
  }
  hidden[i] += sum + sharedOut[i] / (1.0 + exp(-sharedGate[token]));
}
