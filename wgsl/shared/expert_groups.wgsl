// expert_groups: what moe_group left behind the picks, for kernels that take a tile of one expert's choices by a workgroup of grid.y.
override PLACES: u32; override TILES: u32;
@group(0) @binding(1) var<storage, read> picks: array<u32>;
@group(0) @binding(2) var<storage, read> slots: array<u32>;

/// Places [first, end) are of choices of one expert, which lies in `slot`; ABSENT where it lies in none, or there is no such tile.
struct Group { slot: u32, first: u32, end: u32 };

fn groupOf(tile: u32) -> Group {
  if (tile >= picks[TILES]) { return Group(ABSENT, 0u, 0u); }
  let at = TILES + 1u + tile * 3u;
  return Group(slots[picks[at]], picks[at + 1u], picks[at + 2u]);
}

/// The choice at a place; past the end of a group the last one again.
fn choiceAt(place: u32, group: Group) -> u32 { return picks[PLACES + min(place, group.end - 1u)]; }
