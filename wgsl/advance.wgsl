// advance: after a token was drawn, the step that reads it: one position on; of no tokens from a stop token on, which leaves the
// sequence's state as it is however many steps were queued behind.
//   ids [1] u32: the token;  stops [1 + count] u32: a count, then that many ids;  step: Step
// One thread.
@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read> stops: array<u32>;
@group(0) @binding(2) var<storage, read_write> step: Step;

@compute @workgroup_size(1)
fn main() {
  step.position += step.tokens;
  for (var i = 0u; i < stops[0]; i++) {
    if (ids[0] == stops[1u + i]) { step.tokens = 0u; }
  }
}
