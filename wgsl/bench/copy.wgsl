// copy: how many bytes a second memory takes and gives. destination[i] = source[i], both vec4u.
// A workgroup copies a run of 256 * 4 * STEPS units, four independent loads a step.
override STEPS: u32;
@group(0) @binding(0) var<storage, read> source: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> destination: array<vec4u>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let start = (wg.y * grid.x + wg.x) * (1024u * STEPS) + lane;
  for (var step = 0u; step < STEPS; step++) {
    let i = start + step * 1024u;
    let a = source[i]; let b = source[i + 256u]; let c = source[i + 512u]; let d = source[i + 768u];
    destination[i] = a; destination[i + 256u] = b; destination[i + 512u] = c; destination[i + 768u] = d;
  }
}
