// tile_f16: operand tiles are rounded to f16; sums stay f32. Beyond f16's range an outlier saturates: an infinity would spread.
alias Tile = vec4h;
const TILE_MAX = 65504.0;
