// head_squares_4: what scale_heads reads, behind the bindings of write_residual.
@group(0) @binding(4) var<storage, read> headSquares: array<vec4f>;
