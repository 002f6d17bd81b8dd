// picks_ranked: the experts of one token as every workgroup finds them in the router's logits [EXPERTS] f32, behind moe_rank: that takes
// less than a dispatch of its own. One workgroup writes them for the kernels behind this one: see moe_choice.
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(4) var<storage, read_write> picks: array<u32>;
@group(0) @binding(5) var<storage, read_write> weights: array<f32>;

/// The expert of choice `choice`; all threads of a workgroup call it, and `isFirst` in one workgroup.
fn pickOf(choice: u32, thread: u32, isFirst: bool) -> u32 {
  rank(0u, thread);
  if (isFirst) { writeChoice(thread); }
  return chosenExperts[choice];
}
