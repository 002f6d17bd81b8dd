// moe_route_one: moe_route for one token whose experts may not all be in their slots. It says how many are not, and keeps the residual
// stream as it is before the mixture, so that the token can be computed again from here once they have come.
//   logits [EXPERTS] f32;  slots [EXPERTS] u32, ABSENT where the expert is in no slot;  hidden [COLS] f32
//   picks [CHOSEN + 1] u32, best first, then how many are absent;  weights [CHOSEN] f32;  saved [COLS] f32
override COLS: u32;
const ABSENT = 0xffffffffu;
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> slots: array<u32>;
@group(0) @binding(2) var<storage, read> hidden: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> picks: array<u32>;
@group(0) @binding(4) var<storage, read_write> weights: array<f32>;
@group(0) @binding(5) var<storage, read_write> saved: array<vec4f>;

@compute @workgroup_size(RANKERS)
fn main(@builtin(local_invocation_index) thread: u32) {
  for (var quad = thread; quad < COLS / 4u; quad += RANKERS) { saved[quad] = hidden[quad]; }
  rank(0u, thread);
  writeChoice(thread);
}
