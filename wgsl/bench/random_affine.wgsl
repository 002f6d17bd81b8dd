// random_affine: a slab full of affine matrices, one every `stride` units of 16 bytes: `words` units of random q, then (scale, bias)
// pairs as two bf16. A scale is ±deviation * (0.75 to 1.25); the bias is -CENTER scales, so that weights centre on zero.
override CENTER: f32; // half of 2^bits
struct Params { seed: u32, stride: u32, words: u32, deviation: f32 };
@group(0) @binding(0) var<storage, read_write> y: array<vec4u>;
@group(0) @binding(1) var<uniform> params: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let unit = (wg.y * grid.x + wg.x) * 256u + lane;
  if (unit >= arrayLength(&y)) { return; }
  let i = 4u * unit;
  let random = vec4u(hash(hash(i) ^ params.seed), hash(hash(i + 1u) ^ params.seed), hash(hash(i + 2u) ^ params.seed), hash(hash(i + 3u) ^ params.seed));
  if (unit % params.stride < params.words) {
    y[unit] = random;
  } else {
    let d = params.deviation;
    y[unit] = vec4u(pair(random.x, d, CENTER), pair(random.y, d, CENTER), pair(random.z, d, CENTER), pair(random.w, d, CENTER));
  }
}
