// swiglu: y = silu(gate) * up.
//   gate, up, y [tokens, COLS] f32. One thread per four values, rows of the grid folded into y.
override COLS: u32;
@group(0) @binding(0) var<storage, read> gate: array<vec4f>;
@group(0) @binding(1) var<storage, read> up: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(3) var<uniform> step: Step;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) thread: u32) {
  let i = (wg.y * grid.x + wg.x) * 64u + thread;
  if (i >= step.tokens * (COLS / 4u)) { return; }
  y[i] = gate[i] / (1.0 + exp(-gate[i])) * up[i];
}
