// interleave_pairs: scales and biases that lie one after the other become pairs s0 b0 s1 b1 …, in place in a slab.
//   raw: the scales, padded to whole words, then the biases;  slab: the pairs' words from params.start on, no others
// Bits are moved and never read as numbers. Two elements fill a word, or each has one of its own (params.wide).
// One thread per word of scales, which makes two words of pairs; rows of the grid folded into y.
struct Params {
  /// Elements of scales, as many as of biases.
  count: u32,
  /// Where in the slab, in words.
  start: u32,
  /// 1: elements of 4 bytes; 0: of 2.
  wide: u32,
}
@group(0) @binding(0) var<storage, read> raw: array<u32>;
@group(0) @binding(1) var<storage, read_write> slab: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) thread: u32) {
  let i = (wg.y * grid.x + wg.x) * 64u + thread;
  let words = select((params.count + 1u) / 2u, params.count, params.wide == 1u);
  if (i >= words) { return; }
  let scales = raw[i];
  let biases = raw[words + i];
  let at = params.start + 2u * i;
  if (params.wide == 1u) {
    slab[at] = scales;
    slab[at + 1u] = biases;
    return;
  }
  slab[at] = (scales & 0xffffu) | (biases << 16u);
  // The last word of an odd count holds one element: what follows its pair is not ours.
  if (2u * i + 1u < params.count) { slab[at + 1u] = (scales >> 16u) | (biases & 0xffff0000u); }
}
