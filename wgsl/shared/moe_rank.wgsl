// moe_rank: the CHOSEN largest of a token's logits, the lower index first where two are equal, by RANKERS threads.
// The least of the maxima of so many groups as there are chosen ones or more is a bound that no chosen one is below. Few experts reach
// it, and only among these ranks are counted: the rank of one is how many come before it.
override EXPERTS: u32; // 1024 at most
override CHOSEN: u32; // 64 at most
override RENORMALISED: bool;
override RANKERS: u32; // a power of two, 64 at least
override GROUPS: u32; // a power of two, CHOSEN at least, RANKERS at most
override OWN: u32 = (EXPERTS + RANKERS - 1u) / RANKERS;
const LOWEST = -3.0e38; // not -inf: compilers may assume that none occurs
var<workgroup> maxima: array<f32, RANKERS>;
var<workgroup> bounds: array<f32, GROUPS>;
var<workgroup> reachCount: atomic<u32>;
var<workgroup> reachLogits: array<f32, EXPERTS>;
var<workgroup> reachExperts: array<u32, EXPERTS>;
var<workgroup> chosenLogits: array<f32, CHOSEN>;
var<workgroup> chosenExperts: array<u32, CHOSEN>;

/// Fills chosenLogits and chosenExperts from logits [first, first + EXPERTS). All RANKERS threads call it, once.
fn rank(first: u32, thread: u32) {
  var own: array<f32, OWN>;
  var most = LOWEST;
  for (var i = 0u; i < OWN; i++) {
    let expert = i * RANKERS + thread;
    own[i] = select(LOWEST, logits[first + min(expert, EXPERTS - 1u)], expert < EXPERTS);
    most = max(most, own[i]);
  }
  maxima[thread] = most;
  workgroupBarrier();
  if (thread < GROUPS) {
    for (var i = GROUPS; i < RANKERS; i += GROUPS) { most = max(most, maxima[i + thread]); }
    bounds[thread] = most;
  }
  workgroupBarrier();
  var bound = bounds[0];
  for (var i = 1u; i < GROUPS; i++) { bound = min(bound, bounds[i]); }
  for (var i = 0u; i < OWN; i++) {
    let expert = i * RANKERS + thread;
    if (own[i] < bound || expert >= EXPERTS) { continue; }
    let place = atomicAdd(&reachCount, 1u);
    reachLogits[place] = own[i];
    reachExperts[place] = expert;
  }
  workgroupBarrier();
  let count = atomicLoad(&reachCount);
  for (var i = thread; i < count; i += RANKERS) { countBefore(i, count); }
  workgroupBarrier();
}

/// Gives the expert at place `own` of those that reach the bound its rank.
fn countBefore(own: u32, count: u32) {
  let value = reachLogits[own];
  let expert = reachExperts[own];
  var before = 0u;
  for (var i = 0u; i < count; i++) {
    let other = reachLogits[i];
    before += select(0u, 1u, other > value || (other == value && reachExperts[i] < expert));
  }
  if (before < CHOSEN) {
    chosenLogits[before] = value;
    chosenExperts[before] = expert;
  }
}

/// The weight of rank `place`, once all ranks are counted: softmax over all experts, or over the chosen ones.
fn weightOf(place: u32, first: u32) -> f32 {
  let most = chosenLogits[0];
  var sum = 0.0;
  if (RENORMALISED) {
    for (var i = 0u; i < CHOSEN; i++) { sum += exp(chosenLogits[i] - most); }
  } else {
    for (var e = 0u; e < EXPERTS; e++) { sum += exp(logits[first + e] - most); }
  }
  return exp(chosenLogits[place] - most) / sum;
}
