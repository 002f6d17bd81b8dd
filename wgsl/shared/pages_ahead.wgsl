// pages_ahead: one word of each of the next 64 MiB of the slab, page by page, while a product reads its own matrix. A GPU keeps the addresses
// of a few gigabytes' pages at hand (2 MiB each on NVIDIA); a token that reads more finds none of them, and each product would begin by waiting
// for its own. What lies behind a matrix is what the products behind it read: images lie in the order of use.
const PAGES = 32u;
const PAGE_UNITS = 131072u; // 2 MiB

/// The word that this workgroup asks for, behind the matrix of `record`; use it late, with zeroOf.
fn askAhead(workgroup: u32, thread: u32) -> u32 {
  if (workgroup >= PAGES || thread > 0u) { return 0u; }
  let end = record.a.x + record.a.z * UNITS;
  return slab[min(end + workgroup * PAGE_UNITS, arrayLength(&slab) - 1u)].x;
}

/// Zero, which no compiler can know: rows are fewer than 2^31. Added to a sum it keeps the read alive and changes nothing.
fn zeroOf(word: u32) -> f32 { return f32(word & (record.a.z >> 31u)); }
