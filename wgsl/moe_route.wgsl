// moe_route: the experts of each token and their weights, as moe_rank finds them. One workgroup per token.
//   logits [tokens, EXPERTS] f32;  picks [tokens, CHOSEN] u32, best first;  weights [tokens, CHOSEN] f32
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> picks: array<u32>;
@group(0) @binding(2) var<storage, read_write> weights: array<f32>;

@compute @workgroup_size(RANKERS)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) thread: u32) {
  let token = wg.x;
  rank(token * EXPERTS, thread);
  if (thread < CHOSEN) {
    picks[token * CHOSEN + thread] = chosenExperts[thread];
    weights[token * CHOSEN + thread] = weightOf(thread, token * EXPERTS);
  }
}
