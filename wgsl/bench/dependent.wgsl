// dependent: the smallest dispatch that must wait for the one before it. values [64] f32.
@group(0) @binding(0) var<storage, read_write> values: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
  values[lane] = values[lane] + 1.0;
}
