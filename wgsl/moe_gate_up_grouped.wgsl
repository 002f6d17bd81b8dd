// moe_gate_up_grouped: moe_gate_up for a prompt, a tile of choices of one expert at a time: its weights are read and dequantised once for all
// of them. Any weight format that columns_* reads; how a workgroup shares a tile is in expert_tile or expert_tile_direct.
//   x [tokens, COLS] f32;  picks as moe_group leaves them;  slots [experts] u32, ABSENT where the expert is in no slot of the slab
//   y [tokens * CHOSEN, ROWS] f32; rows of an absent expert stay as they are
//   weights: records 0 and 1 are gate and up, the halves of a tile
// grid.y is a tile of choices, grid.x the rows of one tile.
override ROWS: u32; override CHOSEN: u32;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

fn quadOfX(choice: u32, quad: u32) -> vec4f { return x[choice / CHOSEN * (COLS / 4u) + quad]; }

fn readHalf(slot: u32, half: u32, row: u32, index: u32) -> Rows {
  chooseExpert(half, slot);
  return readRows(min(vec4u(row, row + 1u, row + 2u, row + 3u), vec4u(ROWS - 1u)), index); // past the end the last repeats, unwritten
}

fn store(place: u32, row: u32, group: Group, gate: vec4f, up: vec4f) {
  if (place >= group.end) { return; }
  let values = gate / (1.0 + exp(-gate)) * up;
  let at = choiceAt(place, group) * ROWS + row;
  for (var i = 0u; i < 4u && row + i < ROWS; i++) { y[at + i] = values[i]; }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) thread: u32) {
  let group = groupOf(wg.y);
  if (group.slot == ABSENT) { return; }
  let s = tileSums(group, wg.x * ROWS_EACH, thread);
  let place = placeOf(thread, group);
  let row = wg.x * ROWS_EACH + rowOf(thread);
  store(place, row, group, s.a0, s.b0); store(place + 1u, row, group, s.a1, s.b1);
  store(place + 2u, row, group, s.a2, s.b2); store(place + 3u, row, group, s.a3, s.b3);
  if (TILE < 8u) { return; }
  store(place + 4u, row, group, s.a4, s.b4); store(place + 5u, row, group, s.a5, s.b5);
  store(place + 6u, row, group, s.a6, s.b6); store(place + 7u, row, group, s.a7, s.b7);
}
