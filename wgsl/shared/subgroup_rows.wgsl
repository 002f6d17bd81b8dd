// subgroup_rows: sums of four rows over a subgroup in two exchanges of halves and one shuffle per further doubling, in place of four
// whole reductions. LARGEST: lanes of the largest subgroup that the device makes.

/// The sum of component `thread % 4` over a subgroup of `size` lanes, 4 to 128.
fn subgroupRow(rows: vec4f, thread: u32, size: u32) -> f32 {
  let odd = thread % 2u == 1u;
  let two = select(rows.xz, rows.yw, odd) + subgroupShuffleXor(select(rows.yw, rows.xz, odd), 1u);
  let upper = thread / 2u % 2u == 1u;
  var one = select(two.x, two.y, upper) + subgroupShuffleXor(select(two.y, two.x, upper), 2u);
  if (LARGEST > 4u) { one += fromOther(one, 4u, size); }
  if (LARGEST > 8u) { one += fromOther(one, 8u, size); }
  if (LARGEST > 16u) { one += fromOther(one, 16u, size); }
  if (LARGEST > 32u) { one += fromOther(one, 32u, size); }
  if (LARGEST > 64u) { one += fromOther(one, 64u, size); }
  return one;
}

/// The value `bit` lanes away, 0 past the subgroup. All lanes shuffle, whatever the size, as WGSL demands.
fn fromOther(value: f32, bit: u32, size: u32) -> f32 { return select(0.0, subgroupShuffleXor(value, bit), bit < size); }
