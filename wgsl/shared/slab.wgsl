// slab: where a matrix lies. A record says at which 16-byte unit of the slab each part of it starts.
struct Record { a: vec4u, b: vec4u };
@group(1) @binding(0) var<storage, read> slab: array<vec4u>;
@group(0) @binding(15) var<uniform> record: Record;

/// A 16-byte unit of the slab, or a word of it: matrix_affine reads through these, since kernels of experts have two slabs.
fn slabUnit(unit: u32) -> vec4u { return slab[unit]; }
fn slabWord(unit: u32, word: u32) -> u32 { return slab[unit][word]; }
