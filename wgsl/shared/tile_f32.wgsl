// tile_f32: operand tiles keep f32.
alias Tile = vec4f;
