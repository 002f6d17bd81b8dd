// moe_group: the choices of a chunk's tokens, sorted by expert and cut into tiles of TILE at most, so that what reads an expert's weights
// reads them once for many tokens.
//   picks u32: [tokens * CHOSEN] come in; out go at PLACES the choices [tokens * CHOSEN], those of one expert side by side, and at TILES how many
//   tiles there are, then of each the expert, its first place and the one behind its last.
// One workgroup. In which order an expert's choices come is chance; nothing that is computed from them depends on it.
override EXPERTS: u32; override CHOSEN: u32; override TILE: u32; override PLACES: u32; override TILES: u32;
override OWN: u32 = (EXPERTS + 255u) / 256u;
@group(0) @binding(0) var<storage, read_write> picks: array<u32>;
@group(0) @binding(1) var<uniform> step: Step;
/// Choices of each expert; then the next place for one.
var<workgroup> counts: array<atomic<u32>, 1024>;
/// Choices and tiles of the OWN experts of each thread.
var<workgroup> sums: array<vec2u, 256>;

/// Choices and tiles.
fn sizeOf(expert: u32) -> vec2u {
  let count = atomicLoad(&counts[expert]);
  return vec2u(count, (count + TILE - 1u) / TILE);
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32) {
  let choices = step.tokens * CHOSEN;
  for (var i = thread; i < choices; i += 256u) { atomicAdd(&counts[picks[i]], 1u); }
  workgroupBarrier();
  let firstOwn = thread * OWN;
  let end = min(firstOwn + OWN, EXPERTS);
  var own = vec2u();
  for (var expert = firstOwn; expert < end; expert++) { own += sizeOf(expert); }
  sums[thread] = own;
  workgroupBarrier();
  var before = vec2u();
  for (var i = 0u; i < thread; i++) { before += sums[i]; }
  if (thread == 255u) { picks[TILES] = before.y + own.y; }
  for (var expert = firstOwn; expert < end; expert++) {
    let size = sizeOf(expert);
    for (var i = 0u; i < size.y; i++) {
      let at = TILES + 1u + (before.y + i) * 3u;
      picks[at] = expert;
      picks[at + 1u] = before.x + i * TILE;
      picks[at + 2u] = before.x + min(size.x, (i + 1u) * TILE);
    }
    atomicStore(&counts[expert], before.x);
    before += size;
  }
  workgroupBarrier();
  for (var i = thread; i < choices; i += 256u) { picks[PLACES + atomicAdd(&counts[picks[i]], 1u)] = i; }
}
