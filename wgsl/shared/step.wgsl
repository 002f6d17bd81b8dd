// step: what changes from one step to the next; see src/kernels/step.ts.
struct Step {
  tokens: u32,     // tokens in this step
  position: u32,   // position of the first of them in its sequence
  firstRow: u32,   // first row of x that the head reads
  sourceSlot: u32, // recurrent and conv state before the step
  targetSlot: u32, // recurrent and conv state after it; may equal sourceSlot
  firstTile: u32,  // first tile of query rows that attention_tiled takes
};
