// planes: of how many int8 an integer activation is made, and where the vec4u of a unit of 32 of them lie.
// Those of eight units lie turned, [piece][unit], so that lanes that read neighbouring units read neighbouring bytes.
override PLANES: u32;
/// The last holds numbers about the unit.
override PIECES: u32 = 2u * PLANES + 1u;
const pieceStep = 8u;

/// The first vec4u of a unit; the others follow, pieceStep apart.
fn firstPiece(unit: u32) -> u32 { return unit / 8u * 8u * PIECES + unit % 8u; }
