// moe_route: the experts of each token: the CHOSEN largest logits, the lower index first where two are equal, and their weights.
//   logits [tokens, EXPERTS] f32;  picks [tokens, CHOSEN] u32, best first;  weights [tokens, CHOSEN] f32
//   weights = softmax over all experts; RENORMALISED: divided by their sum, which is a softmax over the chosen ones
// One workgroup per token. An expert's rank is the number of those that come before it, which every thread counts by itself.
override EXPERTS: u32; // 1024 at most
override CHOSEN: u32; // 64 at most
override RENORMALISED: bool;
override QUADS: u32 = (EXPERTS + 3u) / 4u;
const THREADS = 256u;
const LOWEST = -3.0e38; // not -inf: compilers may assume that none occurs
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> picks: array<u32>;
@group(0) @binding(2) var<storage, read_write> weights: array<f32>;
var<workgroup> own: array<vec4f, 256>;
var<workgroup> chosen: array<f32, 64>;

fn logit(first: u32, expert: u32) -> f32 { return select(LOWEST, logits[first + min(expert, EXPERTS - 1u)], expert < EXPERTS); }

fn rankOf(expert: u32) -> u32 {
  let value = own[expert / 4u][expert % 4u];
  var before = vec4u();
  for (var quad = 0u; quad < QUADS; quad++) {
    let others = own[quad];
    let index = vec4u(4u * quad) + vec4u(0u, 1u, 2u, 3u);
    before += select(vec4u(), vec4u(1u), (others > vec4f(value)) | ((others == vec4f(value)) & (index < vec4u(expert))));
  }
  return before.x + before.y + before.z + before.w;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) thread: u32) {
  let token = wg.x;
  let first = token * EXPERTS;
  if (thread < QUADS) {
    let e = 4u * thread;
    own[thread] = vec4f(logit(first, e), logit(first, e + 1u), logit(first, e + 2u), logit(first, e + 3u));
  }
  workgroupBarrier();
  for (var expert = thread; expert < EXPERTS; expert += THREADS) {
    let rank = rankOf(expert);
    if (rank < CHOSEN) {
      picks[token * CHOSEN + rank] = expert;
      chosen[rank] = own[expert / 4u][expert % 4u];
    }
  }
  workgroupBarrier();
  if (thread < CHOSEN) {
    let most = chosen[0];
    var sum = 0.0;
    if (RENORMALISED) {
      for (var i = 0u; i < CHOSEN; i++) { sum += exp(chosen[i] - most); }
    } else {
      for (var e = 0u; e < EXPERTS; e++) { sum += exp(own[e / 4u][e % 4u] - most); }
    }
    weights[token * CHOSEN + thread] = exp(chosen[thread] - most) / sum;
  }
}
