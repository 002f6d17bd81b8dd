// matrix_affine: four neighbouring weights of an affine matrix: w = scale * q + bias.
// record.a = (words, scales, rows, firstRow): 16-byte units of the packed words and of the scale pairs, then counts.
// record.b = (u32 per row, groups per row, columns, rows of all parts).
// Each row is one LSB-first stream of BITS-bit q; ROW_WORDS u32 a row. A scale pair is (scale, bias):
// PAIR 0 two bf16 in a u32, 1 two f16 in a u32, 2 two f32.
override BITS: u32; override GROUP: u32; override PAIR: u32;

fn word(index: u32) -> u32 { return slabWord(record.a.x + index / 4u, index % 4u); }

/// The bits of scale pair `index` = row * record.b.y + column / GROUP, so that they can be read long before they are used.
fn pairBits(index: u32) -> vec2u {
  if (PAIR == 2u) {
    let unit = record.a.y + index / 2u;
    let first = index % 2u * 2u;
    return vec2u(slabWord(unit, first), slabWord(unit, first + 1u));
  }
  return vec2u(slabWord(record.a.y + index / 4u, index % 4u), 0u);
}

/// (scale, bias).
fn pairValue(bits: vec2u) -> vec2f {
  if (PAIR == 2u) { return bitcast<vec2f>(bits); }
  if (PAIR == 1u) { return unpack2x16float(bits.x); }
  return vec2f(bitcast<f32>(bits.x << 16u), bitcast<f32>(bits.x & 0xffff0000u));
}

/// (scale, bias) of group `index`.
fn scaleBias(index: u32) -> vec2f { return pairValue(pairBits(index)); }

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
