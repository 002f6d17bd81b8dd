// moe_rank: the CHOSEN largest of a token's logits, the lower index first where two are equal, by 256 threads. An expert's rank is the
// number of those that come before it, which a thread counts by itself.
override EXPERTS: u32; // 1024 at most
override CHOSEN: u32; // 64 at most
override RENORMALISED: bool;
override QUADS: u32 = (EXPERTS + 3u) / 4u;
const THREADS = 256u;
const LOWEST = -3.0e38; // not -inf: compilers may assume that none occurs
var<workgroup> own: array<vec4f, 256>;
var<workgroup> chosen: array<f32, 64>;

/// Logits [first, first + EXPERTS) into workgroup memory.
fn loadLogits(first: u32, thread: u32) {
  if (thread < QUADS) {
    let e = 4u * thread;
    own[thread] = vec4f(logit(first, e), logit(first, e + 1u), logit(first, e + 2u), logit(first, e + 3u));
  }
  workgroupBarrier();
}

fn logit(first: u32, expert: u32) -> f32 { return select(LOWEST, logits[first + min(expert, EXPERTS - 1u)], expert < EXPERTS); }

/// Once the logits are there. CHOSEN or more: not chosen.
fn rankOf(expert: u32) -> u32 {
  let value = own[expert / 4u][expert % 4u];
  var before = vec4u();
  for (var quad = 0u; quad < QUADS; quad++) {
    let others = own[quad];
    let index = vec4u(4u * quad) + vec4u(0u, 1u, 2u, 3u);
    before += select(vec4u(), vec4u(1u), (others > vec4f(value)) | ((others == vec4f(value)) & (index < vec4u(expert))));
  }
  let rank = before.x + before.y + before.z + before.w;
  if (rank < CHOSEN) { chosen[rank] = value; }
  return rank;
}

/// The weight of rank `rank`, once all ranks are counted: softmax over all experts, or over the chosen ones.
fn weightOf(rank: u32) -> f32 {
  let most = chosen[0];
  var sum = 0.0;
  if (RENORMALISED) {
    for (var i = 0u; i < CHOSEN; i++) { sum += exp(chosen[i] - most); }
  } else {
    for (var e = 0u; e < EXPERTS; e++) { sum += exp(own[e / 4u][e % 4u] - most); }
  }
  return exp(chosen[rank] - most) / sum;
}
