// sample_emit: how a sampling kernel ends. One workgroup of 256 threads.
//   ids[0]: the token, for the next step's embedding lookup;  emitted [RING]: the tokens, token t at t % RING
//   history: as sample_logits;  state: see State
override RING: u32;

/// Tokens drawn so far. The first fault stays until the CPU clears it: the bits of a logit that is not finite (0: no fault), its id,
/// and which token was to be drawn; that one and those after it mean nothing.
struct State { drawn: u32, faultBits: u32, faultId: u32, faultDraw: u32 };

var<workgroup> badId: atomic<u32>;

/// The lowest id that is not finite, in two halves with a barrier before each and behind the second.
fn startFault(lane: u32) { if (lane == 0u) { atomicStore(&badId, NONE); } }
fn loadFault(lane: u32) { if (lane < BLOCKS) { atomicMin(&badId, blocks[lane].badId); } }

/// For one thread. A fault emits token 0, so that what follows reads within its bounds.
fn emit(token: u32) {
  let bad = atomicLoad(&badId);
  if (bad != NONE && state.faultBits == 0u) {
    state.faultBits = blocks[bad / (256u * PER)].badBits;
    state.faultId = bad;
    state.faultDraw = state.drawn;
  }
  let drawn = select(token, 0u, bad != NONE || token == NONE);
  ids[0] = drawn;
  emitted[state.drawn % RING] = drawn;
  history[drawn] += 1u;
  state.drawn += 1u;
}
