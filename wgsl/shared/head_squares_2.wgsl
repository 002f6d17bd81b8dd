// head_squares_2: what scale_heads reads, behind the bindings of write_rows.
@group(0) @binding(2) var<storage, read> headSquares: array<vec4f>;
