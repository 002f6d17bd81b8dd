// heads_raw: what one value head's delta rule reads, as a product that convolves wrote it: L2 norms of query and key as delta_qk_norm and gates as
// delta_gates are still to be found, which every workgroup does for itself. Behind softplus.
//   qkv [CHANNELS] f32;  projected f32: a [VALUE_HEADS] from A_AT on, b from B_AT on
//   weights: record.a.y, record.a.z = -exp(A_log), dt_bias [VALUE_HEADS] f32
override A_AT: u32; override B_AT: u32;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> projected: array<f32>;

var<workgroup> keySquares: array<f32, 32>;

/// A barrier must follow.
fn loadKey(keyHead: u32, thread: u32) {
  if (thread < KEY_DIM) {
    query[thread] = qkv[keyHead * KEY_DIM + thread];
    key[thread] = qkv[(KEY_HEADS + keyHead) * KEY_DIM + thread];
  }
  workgroupBarrier();
  if (thread < 32u) {
    var sum = 0.0;
    for (var i = thread % 16u; i < KEY_DIM; i += 16u) {
      let value = select(query[i], key[i], thread >= 16u);
      sum += value * value;
    }
    keySquares[thread] = sum;
  }
  workgroupBarrier();
  if (thread < KEY_DIM) {
    var sums = vec2f();
    for (var i = 0u; i < 16u; i++) { sums += vec2f(keySquares[i], keySquares[16u + i]); }
    let scales = inverseSqrt(sums + 1e-6);
    query[thread] *= scales.x * inverseSqrt(f32(KEY_DIM));
    key[thread] *= scales.y;
  }
}

fn gateOf(head: u32) -> vec2f {
  let negExpA = parameter4(record.a.y + head / 4u)[head % 4u];
  let dtBias = parameter4(record.a.z + head / 4u)[head % 4u];
  return vec2f(negExpA * softplus(projected[A_AT + head] + dtBias), 1.0 / (1.0 + exp(-projected[B_AT + head])));
}
