// random_weights: units [first, first + count) of a slab, 16 bytes each, full of random weights. KIND 0: words of q; 1: (scale, bias)
// pairs as two bf16, the bias -center scales; 2: weights as two bf16, uniform in ±scale. A word follows from the seed and its place in its
// tensor, whose word `start` comes first here: wherever a tensor lies and is cut, its values are the same.
override KIND: u32;
struct Params { first: u32, count: u32, start: u32, seed: u32, scale: f32, center: f32 };
@group(0) @binding(0) var<storage, read_write> y: array<vec4u>;
@group(0) @binding(1) var<uniform> params: Params;

fn weights(word: u32) -> u32 {
  let low = bitcast<u32>(params.scale * (f32(word & 0xffffu) / 32768.0 - 1.0)) >> 16u;
  let high = bitcast<u32>(params.scale * (f32(word >> 16u) / 32768.0 - 1.0)) & 0xffff0000u;
  return low | high;
}

fn content(index: u32) -> u32 {
  let word = hash(hash(index) ^ params.seed);
  if (KIND == 0u) { return word; }
  if (KIND == 1u) { return pair(word, params.scale, params.center); }
  return weights(word);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let unit = (wg.y * grid.x + wg.x) * 256u + lane;
  if (unit >= params.count) { return; }
  let i = params.start + 4u * unit;
  y[params.first + unit] = vec4u(content(i), content(i + 1u), content(i + 2u), content(i + 3u));
}
