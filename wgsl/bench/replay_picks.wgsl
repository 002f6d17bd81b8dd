// replay_picks: the experts of a trace in place of those that a router chose, for tokens [step.position, step.position + tokens) of it.
//   trace [TOKENS, CHOSEN] u32, begun again at its end;  slots [experts] u32, ABSENT where the expert is in no slot
//   picks [tokens, CHOSEN] u32; with COUNT, of one token, how many of them are absent behind them
// One workgroup per token.
override CHOSEN: u32; override TOKENS: u32; override COUNT: bool;
const ABSENT = 0xffffffffu;
@group(0) @binding(0) var<storage, read> trace: array<u32>;
@group(0) @binding(1) var<storage, read> slots: array<u32>;
@group(0) @binding(2) var<storage, read_write> picks: array<u32>;
@group(0) @binding(3) var<uniform> step: Step;
var<workgroup> away: array<u32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) thread: u32) {
  if (thread < CHOSEN) {
    let expert = trace[(step.position + wg.x) % TOKENS * CHOSEN + thread];
    picks[wg.x * CHOSEN + thread] = expert;
    away[thread] = select(0u, 1u, slots[expert] == ABSENT);
  }
  workgroupBarrier();
  if (COUNT && thread == 0u) {
    var count = 0u;
    for (var i = 0u; i < CHOSEN; i++) { count += away[i]; }
    picks[CHOSEN] = count;
  }
}
