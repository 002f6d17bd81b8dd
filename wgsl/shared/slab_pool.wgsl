// slab_pool: two slabs. A matrix of the shared expert, or a part of its rows, lies in `slab` as record 0 says; that of a chosen expert in a
// slot of `pool`, or nowhere, as record 1 says, whose record.a.xy count from the slot's start.
override SLOT_UNITS: u32; // 16-byte units of a slot
struct Record { a: vec4u, b: vec4u };
@group(1) @binding(0) var<storage, read> slab: array<vec4u>;
@group(0) @binding(15) var<uniform> records: array<Record, 4>;
var<private> record: Record;
var<private> pooled: bool;
const ABSENT = 0xffffffffu;

/// Workgroups are counted within a matrix already.
fn chooseRecord(workgroup: u32, rows: u32) -> u32 { return workgroup; }

fn chooseShared() {
  pooled = false;
  record = records[0];
}

fn chooseExpert(slot: u32) {
  pooled = true;
  record = records[1];
  record.a.x += slot * SLOT_UNITS;
  record.a.y += slot * SLOT_UNITS;
}

fn slabUnit(unit: u32) -> vec4u {
  if (pooled) { return pool[unit]; }
  return slab[unit];
}

fn slabWord(unit: u32, word: u32) -> u32 {
  if (pooled) { return pool[unit][word]; }
  return slab[unit][word];
}
