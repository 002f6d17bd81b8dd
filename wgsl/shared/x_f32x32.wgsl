// x_f32x32: an x as emit_f32x32 writes it, for row_blocks: what of it a unit is. What it gives with 32 weights is in q4_unit.
fn piece(at: u32, index: u32) -> vec4f { return bitcast<vec4f>(x[at + index * pieceStep]); }

fn readUnit(unit: u32) -> Unit {
  let at = firstPiece(unit);
  let sums = piece(at, 8u);
  return Unit(piece(at, 0u), piece(at, 1u), piece(at, 2u), piece(at, 3u), piece(at, 4u), piece(at, 5u), piece(at, 6u), piece(at, 7u),
    dot(sums, vec4f(1.0)), dot(sums, powers));
}
