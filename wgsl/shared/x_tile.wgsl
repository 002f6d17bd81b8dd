// x_tile: all of a token's x in the memory of a workgroup, for kernels whose COLS fit there: lanes that read whole units of 32 values from
// memory would be 128 bytes apart. A unit's ninth quad holds its sums, which also spreads units over the banks.
var<workgroup> tile: array<vec4f, UNITS * 9u>;

fn putQuad(quad: u32, value: vec4f) { tile[quad / 8u * 9u + quad % 8u] = value; }

fn tileQuad(quad: u32) -> vec4f { return tile[quad / 8u * 9u + quad % 8u]; }

/// Unit `unit`; its sums are right behind sumTile.
fn tileUnit(unit: u32) -> Unit {
  let i = unit * 9u;
  let sums = tile[i + 8u];
  return Unit(
    tile[i], tile[i + 1u], tile[i + 2u], tile[i + 3u], tile[i + 4u], tile[i + 5u], tile[i + 6u], tile[i + 7u], sums.x, sums.y);
}

/// Once all quads are there; a barrier must follow.
fn sumTile(thread: u32) {
  for (var unit = thread; unit < UNITS; unit += THREADS) {
    tile[unit * 9u + 8u] = vec4f(unitSums(tileUnit(unit)), 0.0, 0.0);
  }
}
