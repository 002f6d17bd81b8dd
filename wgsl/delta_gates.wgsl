// delta_gates: per value head the log decay g = -exp(A_log) * softplus(a + dt_bias) and the write strength beta = sigmoid(b).
//   a, b [tokens, HEADS] f32;  gates [tokens, HEADS] (g, beta) f32
//   weights: record.a = (-exp(A_log), dt_bias): [HEADS] f32 each
override HEADS: u32;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> gates: array<vec2f>;
@group(0) @binding(3) var<uniform> step: Step;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= step.tokens * HEADS) { return; }
  let head = id.x % HEADS;
  let negExpA = parameter4(record.a.x + head / 4u)[head % 4u];
  let dtBias = parameter4(record.a.y + head / 4u)[head % 4u];
  gates[id.x] = vec2f(negExpA * softplus(a[id.x] + dtBias), 1.0 / (1.0 + exp(-b[id.x])));
}
