// tile_f32: operand tiles keep f32.
alias Tile = vec4f;
const TILE_MAX = 3.0e38;
