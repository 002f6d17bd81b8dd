// delta_chunk_scan: the sequential half of the chunked delta rule: 16 tokens a turn through the state.
//   V' = U - W S;   O = diag(e^c) Q S + P V';   S <- e^(c_16) S + (diag(e^(c_16 - c)) K)^T V'
//   qkv, gates, u, w, p as in delta_chunk_prepare;  o [tokens, VALUE_HEADS, VALUE_DIM] f32
//   state [slots, VALUE_HEADS, KEY_DIM, VALUE_DIM] f32
// One workgroup per (value head, 16 columns of S), the tile of S in workgroup memory; 16 rows by four column quads make 64 lanes.
// 4 divides KEY_DIM <= 128; 16 divides VALUE_DIM.
override KEY_HEADS: u32; override VALUE_HEADS: u32; override KEY_DIM: u32; override VALUE_DIM: u32;
override CHANNELS: u32 = 2u * KEY_HEADS * KEY_DIM + VALUE_HEADS * VALUE_DIM;
@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> gates: array<vec2f>;
@group(0) @binding(2) var<storage, read> u: array<vec4f>;
@group(0) @binding(3) var<storage, read> w: array<f32>;
@group(0) @binding(4) var<storage, read> p: array<f32>;
@group(0) @binding(5) var<storage, read_write> o: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> state: array<vec4f>;
@group(0) @binding(7) var<uniform> step: Step;
var<workgroup> tile: array<vec4f, 512>;  // S [KEY_DIM][4 quads]
var<workgroup> fresh: array<vec4f, 64>;  // V' [16][4 quads]
var<workgroup> sums: array<f32, 16>;     // c

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) thread: u32) {
  let head = wg.y;
  let keyHead = head / (VALUE_HEADS / KEY_HEADS);
  let quad = thread % 4u;
  let i = thread / 4u;
  let columnQuad = wg.x * 4u + quad;
  let stride = VALUE_DIM / 4u;
  let source = (step.sourceSlot * VALUE_HEADS + head) * KEY_DIM * stride + columnQuad;
  for (var row = i; row < KEY_DIM; row += 16u) { tile[row * 4u + quad] = state[source + row * stride]; }

  for (var first = 0u; first < step.tokens; first += 16u) {
    let count = min(16u, step.tokens - first);
    workgroupBarrier();
    if (thread == 0u) {
      var c = 0.0;
      for (var j = 0u; j < 16u; j++) {
        if (j < count) { c += gates[(first + j) * VALUE_HEADS + head].x; }
        sums[j] = c;
      }
    }
    workgroupBarrier();
    let token = first + min(i, count - 1u);
    let row = (first + i) * VALUE_HEADS + head;
    var v = u[row * stride + columnQuad];
    var out = vec4f();
    for (var d = 0u; d < KEY_DIM; d++) {
      let s = tile[d * 4u + quad];
      v -= w[row * KEY_DIM + d] * s;
      out += qkv[token * CHANNELS + keyHead * KEY_DIM + d] * s;
    }
    fresh[thread] = v;
    workgroupBarrier();
    out *= exp(sums[i]);
    let chunkRow = (((first / 16u) * VALUE_HEADS + head) * 16u + i) * 16u;
    for (var j = 0u; j <= i; j++) { out += p[chunkRow + j] * fresh[j * 4u + quad]; }
    if (i < count) { o[row * stride + columnQuad] = out; }
    let decay = exp(sums[15]);
    for (var d = i; d < KEY_DIM; d += 16u) {
      var s = tile[d * 4u + quad] * decay;
      for (var j = 0u; j < count; j++) {
        let key = qkv[(first + j) * CHANNELS + (KEY_HEADS + keyHead) * KEY_DIM + d];
        s += key * exp(sums[15] - sums[j]) * fresh[j * 4u + quad];
      }
      tile[d * 4u + quad] = s;
    }
  }
  workgroupBarrier();
  let goal = (step.targetSlot * VALUE_HEADS + head) * KEY_DIM * stride + columnQuad;
  for (var row = i; row < KEY_DIM; row += 16u) { state[goal + row * stride] = tile[row * 4u + quad]; }
}
