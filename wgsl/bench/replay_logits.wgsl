// replay_logits: a router's logits such that tokens [step.position, step.position + tokens) run through the experts of a trace, in its order.
//   trace [TOKENS, CHOSEN] u32, begun again at its end;  logits [tokens, EXPERTS] f32, written where the trace has an expert, far above all
// One workgroup per token.
override CHOSEN: u32; override TOKENS: u32; override EXPERTS: u32;
@group(0) @binding(0) var<storage, read> trace: array<u32>;
@group(0) @binding(1) var<storage, read_write> logits: array<f32>;
@group(0) @binding(2) var<uniform> step: Step;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) thread: u32) {
  if (thread >= CHOSEN) { return; }
  let expert = trace[(step.position + wg.x) % TOKENS * CHOSEN + thread];
  logits[wg.x * EXPERTS + expert] = 1e6 - 0.125 * f32(thread);
}
