// columns_any: eight neighbouring columns of four rows for any weight format (matrix_affine or matrix_float). 4 divides COLS.
/// Row i's four and four weights.
struct Rows { low: mat4x4f, high: mat4x4f };

/// Row r's four columns of quad `quad`; past the end 0.
fn quadsOf(rows: vec4u, quad: u32) -> mat4x4f {
  if (quad >= COLS / 4u) { return mat4x4f(); }
  return mat4x4f(weight4(rows.x, quad), weight4(rows.y, quad), weight4(rows.z, quad), weight4(rows.w, quad));
}

/// Columns [8 * index, 8 * index + 8) of `rows`.
fn readRows(rows: vec4u, index: u32) -> Rows { return Rows(quadsOf(rows, 2u * index), quadsOf(rows, 2u * index + 1u)); }

/// The first four of the columns (`half` 0) or the others, component i of row i.
fn fourColumns(r: Rows, half: u32) -> mat4x4f {
  if (half == 0u) { return transpose(r.low); }
  return transpose(r.high);
}
