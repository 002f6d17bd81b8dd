// slab: where a weight lies. A record says at which 16-byte unit of the slab each part of it starts.
struct Record { a: vec4u, b: vec4u };
@group(1) @binding(0) var<storage, read> slab: array<vec4u>;
@group(1) @binding(1) var<uniform> record: Record;

/// One f32x4 of a small parameter, `unit` 16-byte units into the slab.
fn parameter4(unit: u32) -> vec4f { return bitcast<vec4f>(slab[unit]); }
