// columns_q4: eight neighbouring columns of four rows of 4-bit affine weights, behind q4_rows.
/// Columns [8 * index, 8 * index + 8) of `rows`; past the end 0.
fn readRows(rows: vec4u, index: u32) -> Rows {
  if (index * 8u >= COLS) { return Rows(); }
  return rowsAt(rows, index);
}

/// The first four of the columns (`half` 0) or the others.
fn fourColumns(r: Rows, half: u32) -> mat4x4f {
  let words = r.words >> vec4u(half * 16u);
  return mat4x4f(
    fma(exact(words & vec4u(0xfu)), r.scale, r.bias), fma(exact(words & vec4u(0xf0u)), r.scale * 0.0625, r.bias),
    fma(exact(words & vec4u(0xf00u)), r.scale * 0.00390625, r.bias),
    fma(exact(words & vec4u(0xf000u)), r.scale * 0.000244140625, r.bias));
}
