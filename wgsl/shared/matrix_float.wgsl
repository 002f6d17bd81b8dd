// matrix_float: four neighbouring weights of an unquantised matrix.
// record.a = (words, -, rows, firstRow); record.b = (16-byte units per row, -, columns, rows of all parts). FORMAT 0 bf16, 1 f16, 2 f32.
override FORMAT: u32;

/// Weights [row, 4 * quad .. 4 * quad + 4). `row` counts within this part.
fn weight4(row: u32, quad: u32) -> vec4f {
  let base = record.a.x + row * record.b.x;
  if (FORMAT == 2u) { return bitcast<vec4f>(slab[base + quad]); }
  let unit = slab[base + quad / 2u];
  let pair = select(unit.xy, unit.zw, quad % 2u == 1u);
  if (FORMAT == 1u) { return vec4f(unpack2x16float(pair.x), unpack2x16float(pair.y)); }
  return bitcast<vec4f>(vec4u(pair.x << 16u, pair.x & 0xffff0000u, pair.y << 16u, pair.y & 0xffff0000u));
}
