// parameters: small f32 parameters, of all layers in one buffer. A record says at which 16-byte unit each vector starts.
struct Record { a: vec4u, b: vec4u };
@group(0) @binding(14) var<storage, read> parameters: array<vec4f>;
@group(0) @binding(15) var<uniform> record: Record;

/// Four values, `unit` 16-byte units into the buffer.
fn parameter4(unit: u32) -> vec4f { return parameters[unit]; }
