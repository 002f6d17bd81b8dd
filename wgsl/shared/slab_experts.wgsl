// slab_experts: slab for the experts of one layer, each in a slot of its own or not there at all. A record is that of a matrix as it
// lies in any slot: record.a.xy count from the slot's start until chooseExpert has added it.
override SLOT_UNITS: u32; // 16-byte units of a slot
struct Record { a: vec4u, b: vec4u };
@group(1) @binding(0) var<storage, read> slab: array<vec4u>;
@group(0) @binding(15) var<uniform> records: array<Record, 4>;
var<private> record: Record;
const ABSENT = 0xffffffffu;

/// Workgroups are counted within a matrix already.
fn chooseRecord(workgroup: u32, rows: u32) -> u32 { return workgroup; }

/// From now on `record` is that of matrix `index` of the expert in `slot`.
fn chooseExpert(index: u32, slot: u32) {
  record = records[index];
  record.a.x += slot * SLOT_UNITS;
  record.a.y += slot * SLOT_UNITS;
}

/// A 16-byte unit of the slab, or a word of it: matrix_affine reads through these, since kernels of experts have two slabs.
fn slabUnit(unit: u32) -> vec4u { return slab[unit]; }
fn slabWord(unit: u32, word: u32) -> u32 { return slab[unit][word]; }
