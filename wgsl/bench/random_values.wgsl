// random_values: y[i] = offset + scale * u, u in [-1, 1) from a hash of i and the seed. y f32, all of it. Scale 0 fills.
struct Params { seed: u32, offset: f32, scale: f32 };
@group(0) @binding(0) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(1) var<uniform> params: Params;

fn value(index: u32) -> f32 {
  return params.offset + params.scale * (2.0 * unitInterval(hash(hash(index) ^ params.seed)) - 1.0);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) lane: u32) {
  let unit = (wg.y * grid.x + wg.x) * 256u + lane;
  if (unit >= arrayLength(&y)) { return; }
  let i = 4u * unit;
  y[unit] = vec4f(value(i), value(i + 1u), value(i + 2u), value(i + 3u));
}
