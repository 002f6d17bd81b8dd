// sample_draw: a draw from what is left, in order of id: the block in which the cumulated weight exceeds u of the total, the thread's
// share of that block, the id. The last dispatch after sample_sums.
//   logits, history: see sample_logits;  blocks [BLOCKS] Block;  cuts: see sample_cut;  draws [RING] f32: u of token t at t % RING
//   ids, emitted, state: see sample_emit
// Rounding may leave u of the total a crumb above the last sum; then the last id that is left is drawn. One workgroup.
@group(0) @binding(0) var<storage, read> logits: array<u32>;
@group(0) @binding(1) var<storage, read> blocks: array<Block>;
@group(0) @binding(2) var<storage, read> cuts: array<Cut>;
@group(0) @binding(3) var<storage, read> draws: array<f32>;
@group(0) @binding(4) var<storage, read_write> history: array<u32>;
@group(0) @binding(5) var<storage, read_write> ids: array<u32>;
@group(0) @binding(6) var<storage, read_write> emitted: array<u32>;
@group(0) @binding(7) var<storage, read_write> state: State;
@group(0) @binding(8) var<uniform> params: Params;
@group(0) @binding(9) var<uniform> turn: Turn;
struct Turn { index: u32 }; // the pass that sample_sums ended

/// A place in the order of ids: a block, or a thread; the weight and the ties that are left for it and what follows.
struct Place { index: u32, share: f32, ties: u32 };

var<workgroup> largest: atomic<u32>;
var<workgroup> cut: Cut;
var<workgroup> sums: array<f32, 256>; // of blocks, then of threads
var<workgroup> ties: array<u32, 256>;
var<workgroup> block: Place;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
  startFault(lane);
  if (lane == 0u) { cut = cuts[turn.index]; }
  if (lane < BLOCKS) {
    atomicMax(&largest, blocks[lane].key);
    sums[lane] = blocks[lane].sum;
    ties[lane] = blocks[lane].ties;
  }
  workgroupBarrier();
  loadFault(lane);
  if (lane == 0u) { block = find(BLOCKS, Place(0u, draws[state.drawn % RING] * total(), cut.ties)); }
  workgroupBarrier();
  addOwn(lane);
  workgroupBarrier();
  if (lane == 0u) { emit(pick(find(256u, block))); }
}

/// Weight of an id that is left; 0 of others, and of those on the cut, which are left by number.
fn weightAbove(key: u32) -> f32 {
  if (key <= cut.key) { return 0.0; }
  let weight = weightOf(key, atomicLoad(&largest));
  return select(0.0, weight, weight >= params.minP || key == atomicLoad(&largest));
}

fn tieWeight() -> f32 {
  let weight = weightOf(cut.key, atomicLoad(&largest));
  return select(0.0, weight, cut.ties > 0u && (weight >= params.minP || cut.key == atomicLoad(&largest)));
}

fn total() -> f32 {
  let each = tieWeight();
  var sum = 0.0;
  var left = cut.ties;
  for (var i = 0u; i < BLOCKS; i++) {
    let own = min(ties[i], left);
    sum += sums[i] + f32(own) * each;
    left -= own;
  }
  return sum;
}

/// The first of `count` places from which on less than `from.share` is left over, and what is then left for it.
fn find(count: u32, start: Place) -> Place {
  let each = tieWeight();
  var left = start;
  var last = Place(0u, 0.0, start.ties);
  for (var i = 0u; i < count; i++) {
    let own = min(ties[i], left.ties);
    let sum = sums[i] + f32(own) * each;
    left.index = i;
    if (sum > 0.0) { last = left; }
    if (sum > left.share) { return left; }
    left.share -= sum;
    left.ties -= own;
  }
  return last;
}

fn idOf(lane: u32, i: u32) -> u32 { return (block.index * 256u + lane) * PER + i; }

fn addOwn(lane: u32) {
  var sum = 0.0;
  var own = 0u;
  for (var i = 0u; i < PER; i++) {
    let id = idOf(lane, i);
    if (id < VOCAB) {
      let key = keyAt(id);
      if (key == cut.key) { own += 1u; }
      sum += weightAbove(key);
    }
  }
  sums[lane] = sum;
  ties[lane] = own;
}

fn pick(place: Place) -> u32 {
  let each = tieWeight();
  var left = place;
  var last = NONE;
  for (var i = 0u; i < PER; i++) {
    let id = idOf(place.index, i);
    if (id < VOCAB) {
      let key = keyAt(id);
      var weight = weightAbove(key);
      if (key == cut.key && left.ties > 0u) { weight = each; left.ties -= 1u; }
      if (weight > 0.0) { last = id; }
      if (weight > left.share) { return id; }
      left.share -= weight;
    }
  }
  return last;
}
