// moe_route: the experts of each token and their weights, as moe_rank finds them. One workgroup per token.
//   logits [tokens, EXPERTS] f32;  picks [tokens, CHOSEN] u32, best first;  weights [tokens, CHOSEN] f32
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> picks: array<u32>;
@group(0) @binding(2) var<storage, read_write> weights: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) thread: u32) {
  let token = wg.x;
  loadLogits(token * EXPERTS, thread);
  for (var expert = thread; expert < EXPERTS; expert += THREADS) {
    let rank = rankOf(expert);
    if (rank < CHOSEN) { picks[token * CHOSEN + rank] = expert; }
  }
  workgroupBarrier();
  if (thread < CHOSEN) { weights[token * CHOSEN + thread] = weightOf(thread); }
}
