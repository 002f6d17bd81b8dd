// q4_rows: eight neighbouring columns of four rows of 4-bit affine weights: one word of each row. 8 divides GROUP, GROUP divides COLS.
/// As they lie; component i is of row i.
struct Rows { words: vec4u, scale: vec4f, bias: vec4f };

/// Columns [8 * index, 8 * index + 8) of `rows`.
fn rowsAt(rows: vec4u, index: u32) -> Rows {
  let words = rows * (COLS / 8u) + index;
  let groups = rows * (COLS / GROUP) + index * 8u / GROUP;
  let s0 = scaleBias(groups.x); let s1 = scaleBias(groups.y); let s2 = scaleBias(groups.z); let s3 = scaleBias(groups.w);
  return Rows(vec4u(word(words.x), word(words.y), word(words.z), word(words.w)),
    vec4f(s0.x, s1.x, s2.x, s3.x), vec4f(s0.y, s1.y, s2.y, s3.y));
}

/// Four q, still where they lie, exactly: in the low mantissa of 2^23.
fn exact(bits: vec4u) -> vec4f { return bitcast<vec4f>(bits | vec4u(0x4b000000u)) - vec4f(8388608.0); }
