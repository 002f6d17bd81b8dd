// moe_choice: what one token's ranks come to, for whoever reads it: picks [CHOSEN + 1] u32, best first, then how many of them `slots` calls
// absent, and weights [CHOSEN] f32. Behind moe_rank.

/// By the threads of one workgroup, once all ranks are counted.
fn writeChoice(thread: u32) {
  if (thread < CHOSEN) {
    picks[thread] = chosenExperts[thread];
    weights[thread] = weightOf(thread, 0u);
  }
  if (thread == RANKERS - 1u) {
    var away = 0u;
    for (var i = 0u; i < CHOSEN; i++) { away += select(0u, 1u, slots[chosenExperts[i]] == ABSENT); }
    picks[CHOSEN] = away;
  }
}
