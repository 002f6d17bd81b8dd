// random: a word from its index, and what is made of one. The hash is PCG's output function (RXS-M-XS) on one step of its generator.
fn hash(index: u32) -> u32 {
  let state = index * 747796405u + 2891336453u;
  let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
  return (word >> 22u) ^ word;
}

/// In [0, 1), 24 bits of the word.
fn unitInterval(word: u32) -> f32 { return f32(word >> 8u) * exp2(-24.0); }

/// (scale, bias) as two bf16: a scale of either sign, 0.75 to 1.25 times `mean`, and -center scales.
fn pair(word: u32, mean: f32, center: f32) -> u32 {
  let size = mean * (0.75 + 0.5 * unitInterval(word));
  let scale = bitcast<u32>(select(size, -size, (word & 1u) == 1u)) & 0xffff0000u; // cut to bf16
  let bias = bitcast<u32>(-center * bitcast<f32>(scale)); // center is a power of two, so this is bf16 as it is
  return (scale >> 16u) | (bias & 0xffff0000u);
}
