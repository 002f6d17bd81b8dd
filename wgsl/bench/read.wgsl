// read: how many bytes a second memory gives to a kernel that only reads.
//   source [COUNT] vec4u;  sink [64] u32, written practically never: it keeps the loads alive
// A workgroup reads a run of 256 * 8 * STEPS units. Each step has eight loads that wait for nothing, so that enough bytes are in
// flight to cover memory's latency; neighbouring lanes read neighbouring units.
override STEPS: u32;
@group(0) @binding(0) var<storage, read> source: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> sink: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let start = (wg.y * grid.x + wg.x) * (2048u * STEPS) + lane;
  var low = vec4u();
  var high = vec4u();
  for (var step = 0u; step < STEPS; step++) {
    let i = start + step * 2048u;
    let a = source[i]; let b = source[i + 256u]; let c = source[i + 512u]; let d = source[i + 768u];
    let e = source[i + 1024u]; let f = source[i + 1280u]; let g = source[i + 1536u]; let h = source[i + 1792u];
    low ^= (a ^ b) ^ (c ^ d);
    high ^= (e ^ f) ^ (g ^ h);
  }
  // One chance in 2^128 a thread on random words; the compiler cannot know.
  if (all((low ^ high) == vec4u(0x9e3779b9u))) { sink[lane % 64u] = low.x; }
}
