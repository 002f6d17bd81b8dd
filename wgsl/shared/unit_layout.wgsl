// unit_layout: where the PIECES vec4u or vec4f of a unit of 32 neighbouring activations lie.
// Those of eight units lie turned, [piece][unit], so that lanes that read neighbouring units read neighbouring bytes.
override PIECES: u32;
const pieceStep = 8u;

/// The first piece of a unit; the others follow, pieceStep apart.
fn firstPiece(unit: u32) -> u32 { return unit / 8u * 8u * PIECES + unit % 8u; }
