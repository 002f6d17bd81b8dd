// moe_down_grouped: moe_down for a prompt, a tile of choices of one expert at a time, as moe_gate_up_grouped.
//   x [tokens * CHOSEN, COLS] f32;  picks as moe_group leaves them;  slots [experts] u32, ABSENT where the expert is in no slot of the slab
//   y [tokens * CHOSEN, ROWS] f32; rows of an absent expert stay as they are
// grid.y is a tile of choices, grid.x the rows of one tile, the second half of them behind the first.
override ROWS: u32;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

fn quadOfX(choice: u32, quad: u32) -> vec4f { return x[choice * (COLS / 4u) + quad]; }

fn readHalf(slot: u32, half: u32, firstRow: u32, index: u32) -> Rows {
  chooseExpert(0u, slot);
  let row = firstRow + half * ROWS_EACH;
  return readRows(min(vec4u(row, row + 1u, row + 2u, row + 3u), vec4u(ROWS - 1u)), index); // past the end the last repeats, unwritten
}

fn store(place: u32, row: u32, group: Group, low: vec4f, high: vec4f) {
  if (place >= group.end) { return; }
  let at = choiceAt(place, group) * ROWS + row;
  for (var i = 0u; i < 4u && row + i < ROWS; i++) { y[at + i] = low[i]; }
  for (var i = 0u; i < 4u && row + ROWS_EACH + i < ROWS; i++) { y[at + ROWS_EACH + i] = high[i]; }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) thread: u32) {
  let group = groupOf(wg.y);
  if (group.slot == ABSENT) { return; }
  let firstRow = wg.x * ROWS_EACH * 2u;
  let s = tileSums(group, firstRow, thread);
  let place = placeOf(thread, group);
  let row = firstRow + rowOf(thread);
  store(place, row, group, s.a0, s.b0); store(place + 1u, row, group, s.a1, s.b1);
  store(place + 2u, row, group, s.a2, s.b2); store(place + 3u, row, group, s.a3, s.b3);
  if (TILE < 8u) { return; }
  store(place + 4u, row, group, s.a4, s.b4); store(place + 5u, row, group, s.a5, s.b5);
  store(place + 6u, row, group, s.a6, s.b6); store(place + 7u, row, group, s.a7, s.b7);
}
