// matrix_affine: four neighbouring weights of an affine matrix: w = scale * q + bias.
// record.a = (words, scales, rows, firstRow): 16-byte units of the packed words and of the scale pairs, then counts.
// record.b = (u32 per row, groups per row, columns, -).
// Each row is one LSB-first stream of BITS-bit q; ROW_WORDS u32 a row. A scale pair is (scale, bias):
// PAIR 0 two bf16 in a u32, 1 two f16 in a u32, 2 two f32.
override BITS: u32; override GROUP: u32; override PAIR: u32;

fn word(index: u32) -> u32 { return slab[record.a.x + index / 4u][index % 4u]; }

/// (scale, bias) of group `index` = row * record.b.y + column / GROUP.
fn scaleBias(index: u32) -> vec2f {
  if (PAIR == 2u) {
    let pairs = slab[record.a.y + index / 2u];
    return bitcast<vec2f>(select(pairs.xy, pairs.zw, index % 2u == 1u));
  }
  let pair = slab[record.a.y + index / 4u][index % 4u];
  if (PAIR == 1u) { return unpack2x16float(pair); }
  return vec2f(bitcast<f32>(pair << 16u), bitcast<f32>(pair & 0xffff0000u));
}

/// Weights [row, 4 * quad .. 4 * quad + 4). `row` counts within this part.
fn weight4(row: u32, quad: u32) -> vec4f {
  let bit = quad * 4u * BITS;
  let first = row * record.b.x + bit / 32u;
  let shift = bit % 32u;
  var bits = word(first) >> shift;
  if (shift + 4u * BITS > 32u) { bits |= word(first + 1u) << (32u - shift); }
  let q = (vec4u(bits) >> vec4u(0u, BITS, 2u * BITS, 3u * BITS)) & vec4u((1u << BITS) - 1u);
  let s = scaleBias(row * record.b.y + quad * 4u / GROUP);
  return vec4f(q) * s.x + s.y;
}
