// heads_ready: what one value head's delta rule reads, as delta_prepare wrote it.
//   qkv [CHANNELS] f32;  gates [VALUE_HEADS] (g, beta) f32
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> gates: array<vec2f>;

/// A barrier must follow.
fn loadKey(keyHead: u32, thread: u32) {
  if (thread < KEY_DIM) {
    query[thread] = qkv[keyHead * KEY_DIM + thread];
    key[thread] = qkv[(KEY_HEADS + keyHead) * KEY_DIM + thread];
  }
}

fn gateOf(head: u32) -> vec2f { return gates[head]; }
