// qk_norm_rope: from the q, k, v projections to attention's operands: RMSNorm per head over q and k, RoPE on their first
// ROTARY dimensions, k and v into the cache.
//   qGate [tokens, HEADS, 2, HEAD_DIM] f32 (per head the query, then its output gate);  k, v [tokens, KV_HEADS, HEAD_DIM] f32
//   q [tokens, HEADS, HEAD_DIM] f32;  keys, values [capacity, KV_HEADS, HEAD_DIM] KvQuad (shared/kv_f16 or kv_f32)
//   rope [capacity, ROTARY / 2] (cos, sin)
//   weights: record.a = (q norm, k norm): [HEAD_DIM] f32 final multipliers
// One workgroup per (head, token): grid.x = HEADS queries, then KV_HEADS keys, then KV_HEADS values. 4 divides HEAD_DIM.
// A rotated dimension reads its partner again from memory: cheaper than a round through workgroup memory.
override HEADS: u32; override KV_HEADS: u32; override HEAD_DIM: u32; override ROTARY: u32; override EPS: f32;
override QUADS: u32 = HEAD_DIM / 4u;
override STEPS: u32 = (QUADS + LANES - 1u) / LANES;
@group(0) @binding(0) var<storage, read> qGate: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> q: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> keys: array<KvQuad>;
@group(0) @binding(5) var<storage, read_write> values: array<KvQuad>;
@group(0) @binding(6) var<storage, read> rope: array<vec2f>;
@group(0) @binding(7) var<uniform> step: Step;

/// Dimension `i` of one head before its norm; the head starts at `base` of qGate or k.
fn raw(isQuery: bool, base: u32, i: u32) -> f32 {
  if (isQuery) { return qGate[base + i]; }
  return k[base + i];
}

/// Dimension `i` times its norm weight; the norm's scale is common to all and comes later.
fn weighted(isQuery: bool, base: u32, i: u32) -> f32 {
  return raw(isQuery, base, i) * parameter4(select(record.a.y, record.a.x, isQuery) + i / 4u)[i % 4u];
}

/// Dimension `i` after rotation: pairs are (i, i + ROTARY / 2).
fn rotated(isQuery: bool, base: u32, i: u32, position: u32) -> f32 {
  let x = weighted(isQuery, base, i);
  if (i >= ROTARY) { return x; }
  let pairs = ROTARY / 2u;
  let turn = rope[position * pairs + i % pairs];
  if (i < pairs) { return x * turn.x - weighted(isQuery, base, i + pairs) * turn.y; }
  return x * turn.x + weighted(isQuery, base, i - pairs) * turn.y;
}

@compute @workgroup_size(LANES)
fn main(lane: Lane, @builtin(workgroup_id) wg: vec3u) {
  let token = wg.y;
  let position = step.position + token;
  let isQuery = wg.x < HEADS;
  let kvHead = (wg.x - HEADS) % KV_HEADS;
  let kvFrom = (token * KV_HEADS + kvHead) * QUADS;
  let kvTo = (position * KV_HEADS + kvHead) * QUADS;
  if (wg.x >= HEADS + KV_HEADS) {
    for (var quad = lane.index; quad < QUADS; quad += LANES) { values[kvTo + quad] = packKv(v[kvFrom + quad]); }
    return;
  }
  let base = select(kvFrom * 4u, (token * HEADS + wg.x) * 2u * HEAD_DIM, isQuery);
  var squares = vec4f();
  for (var t = 0u; t < STEPS; t++) {
    let i = (t * LANES + lane.index) * 4u;
    if (i < HEAD_DIM) {
      let x = vec4f(raw(isQuery, base, i), raw(isQuery, base, i + 1u), raw(isQuery, base, i + 2u), raw(isQuery, base, i + 3u));
      squares += x * x;
    }
  }
  squares = reduceAdd(squares, lane);
  let scale = inverseSqrt(dot(squares, vec4f(1.0)) / f32(HEAD_DIM) + EPS);
  for (var t = 0u; t < STEPS; t++) {
    let quad = t * LANES + lane.index;
    if (quad < QUADS) {
      let i = quad * 4u;
      let turned = scale * vec4f(rotated(isQuery, base, i, position), rotated(isQuery, base, i + 1u, position),
        rotated(isQuery, base, i + 2u, position), rotated(isQuery, base, i + 3u, position));
      if (isQuery) { q[(token * HEADS + wg.x) * QUADS + quad] = turned; } else { keys[kvTo + quad] = packKv(turned); }
    }
  }
}
