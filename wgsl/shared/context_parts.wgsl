// context_parts: how attention_split cuts the context, and attention_combine finds the parts again.
// A part is a whole number of blocks of 64 keys, the fewest with which PARTS parts cover what there is: whatever part of the
// context is in use, most parts that it can fill have work. While PARTS suffice for one block each, the cut does not depend on them.
override PARTS: u32;
const BLOCK = 64u;
const LOWEST = -3.0e38; // not -inf: compilers may assume that none occurs

/// Keys of a part; the last one may hold fewer, and parts past the length hold none.
fn partLength(length: u32) -> u32 { return (length + PARTS * BLOCK - 1u) / (PARTS * BLOCK) * BLOCK; }
