// tile_f16: operand tiles are rounded to f16; sums stay f32.
alias Tile = vec4h;
