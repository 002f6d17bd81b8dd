// sample_cut: from the histograms of sample_histogram to the cut, by 8 bits of the key a pass, from the top: passes 0 to 3 count out
// the top-k, passes 4 to 7 add up weights for top-p. Every workgroup takes the step from pass to pass by itself, which costs less
// than a dispatch, and the first keeps the result.
//   histogram [8, 256, 2] u32: per pass and value of the next byte, a count or a weight, low word first
//   cuts [9] Cut: cuts[p] is what the passes before p have found, cuts[4] the cut of top-k, cuts[8] that of top-p
// Weights are added as integers of 64 bits: atomics give them no fixed order, and they need none.
struct Turn { index: u32 }; // the pass that comes next

var<workgroup> largest: atomic<u32>; // key of the largest logit
var<workgroup> bins: array<vec2u, 256>;
var<workgroup> cut: Cut;
var<workgroup> topK: Cut; // what a pass over weights is limited to

fn add64(a: vec2u, b: vec2u) -> vec2u {
  let low = a.x + b.x;
  return vec2u(low, a.y + b.y + select(0u, 1u, low < a.x));
}

fn subtract64(a: vec2u, b: vec2u) -> vec2u { return vec2u(a.x - b.x, a.y - b.y - select(0u, 1u, a.x < b.x)); }

fn less64(a: vec2u, b: vec2u) -> bool { return a.y < b.y || (a.y == b.y && a.x < b.x); }

fn times64(a: vec2u, count: u32) -> vec2u {
  var sum = vec2u();
  var power = a;
  for (var left = count; left > 0u; left >>= 1u) {
    if ((left & 1u) == 1u) { sum = add64(sum, power); }
    power = add64(power, power);
  }
  return sum;
}

/// A weight of at most 1 in units of 2^-44, so that a million of them fit.
fn fixed(weight: f32) -> vec2u {
  let high = floor(weight * 4096.0);
  return vec2u(u32((weight * 4096.0 - high) * 4294967296.0), u32(high));
}

fn float64(a: vec2u) -> f32 { return f32(a.y) * 4294967296.0 + f32(a.x); }

/// The part `share` < 1 of a total.
fn shareOf(total: vec2u, share: f32) -> vec2u {
  let part = share * float64(total);
  let high = floor(part / 4294967296.0);
  return vec2u(u32(part - high * 4294967296.0), u32(high));
}

/// Puts the largest key of all blocks where every thread can read it after the next barrier.
fn loadLargest(lane: u32) {
  if (lane < BLOCKS) { atomicMax(&largest, blocks[lane].key); }
}

/// Sets `cut` to what the passes before `index` have found, and `topK` to the cut that these passes are limited to.
fn resolve(index: u32, lane: u32) {
  let isStart = index == 0u || (index == 4u && params.limited == 0u);
  if (!isStart) {
    let at = ((index - 1u) * 256u + lane) * 2u;
    bins[lane] = vec2u(atomicLoad(&histogram[at]), atomicLoad(&histogram[at + 1u]));
  }
  workgroupBarrier();
  if (lane != 0u) { return; }
  if (index > 4u && params.limited == 1u) { topK = cuts[4]; }
  if (!isStart) { cut = descend(index - 1u); }
  if (index == 4u && params.limited == 1u) { topK = cut; }
}

/// One byte further, after pass `done`: down from the top to where what is wanted is reached.
fn descend(done: u32) -> Cut {
  let level = done % 4u;
  let byCount = done < 4u;
  var next = Cut();
  if (level > 0u) {
    next = cuts[done];
  } else if (byCount) {
    next.wanted = vec2u(params.topK, 0u);
  } else {
    var total = vec2u();
    for (var i = 0u; i < 256u; i++) { total = add64(total, bins[i]); }
    next.wanted = shareOf(total, params.topP);
  }
  var bin = 255u;
  for (; bin > 0u; bin--) {
    let reached = add64(next.above, bins[bin]);
    if (any(bins[bin] != vec2u()) && !less64(reached, next.wanted)) { break; }
    next.above = reached;
  }
  next.key = (next.key << 8u) | bin;
  if (level == 3u) { next.ties = tiesOf(next, byCount); }
  return next;
}

/// How many of the logits on the cut are left.
fn tiesOf(found: Cut, byCount: bool) -> u32 {
  let missing = subtract64(found.wanted, found.above);
  if (byCount) { return missing.x; }
  let each = float64(fixed(weightOf(found.key, atomicLoad(&largest))));
  let ties = max(1u, u32(ceil(float64(missing) / each)));
  return select(ties, min(ties, topK.ties), params.limited == 1u && found.key == topK.key);
}
