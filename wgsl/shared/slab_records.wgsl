// slab_records: slab for a dispatch over up to four matrices of a slab, one after another: `record` is that of the workgroup's own.
// Records of matrices that are not there have no rows.
struct Record { a: vec4u, b: vec4u };
@group(1) @binding(0) var<storage, read> slab: array<vec4u>;
@group(0) @binding(15) var<uniform> records: array<Record, 4>;
var<private> record: Record;

/// Chooses the record of a workgroup when every workgroup takes `rows` rows; returns the workgroup's number within its matrix.
fn chooseRecord(workgroup: u32, rows: u32) -> u32 {
  var left = workgroup;
  record = records[0];
  for (var i = 1u; i < 4u; i++) {
    let count = (record.a.z + rows - 1u) / rows;
    if (left < count) { break; }
    left -= count;
    record = records[i];
  }
  return left;
}

/// A 16-byte unit of the slab, or a word of it: matrix_affine reads through these, since kernels of experts have two slabs.
fn slabUnit(unit: u32) -> vec4u { return slab[unit]; }
fn slabWord(unit: u32, word: u32) -> u32 { return slab[unit][word]; }
