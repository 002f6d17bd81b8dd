// delta_chunk_scan: the sequential half of the chunked delta rule: 16 tokens a turn through the state.
//   V' = U - W S;   O = diag(e^c) Q S + P V';   S <- e^(c_16) S + (diag(e^(c_16 - c)) K)^T V'
//   qkv, gates, u, w, p as in delta_chunk_prepare;  o [tokens, VALUE_HEADS, VALUE_DIM] f32
//   state [slots, VALUE_HEADS, KEY_DIM, VALUE_DIM] f32
// One workgroup per (value head, 16 columns of S), the tile of S in workgroup memory: 16 tokens by four column quads by four parts of
// the keys' dimensions make 256 lanes. W S and Q S are summed over the parts through workgroup memory, V' by part 0, O by part 1.
// The turns follow each other, so what counts is how long one takes: few barriers, reads of four values, none that waits for another.
// 4 divides KEY_DIM <= 128; 16 divides VALUE_DIM.
override KEY_HEADS: u32; override VALUE_HEADS: u32; override KEY_DIM: u32; override VALUE_DIM: u32;
override KEY_QUADS: u32 = KEY_DIM / 4u;
override VALUE_QUADS: u32 = VALUE_DIM / 4u;
override PART_QUADS: u32 = (KEY_QUADS + 3u) / 4u;
override CHANNEL_QUADS: u32 = 2u * KEY_HEADS * KEY_QUADS + VALUE_HEADS * VALUE_QUADS;
@group(0) @binding(0) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(1) var<storage, read> gates: array<vec2f>;
@group(0) @binding(2) var<storage, read> u: array<vec4f>;
@group(0) @binding(3) var<storage, read> w: array<vec4f>;
@group(0) @binding(4) var<storage, read> p: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> o: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> state: array<vec4f>;
@group(0) @binding(7) var<uniform> step: Step;
var<workgroup> tile: array<vec4f, 512>;  // S [KEY_DIM][4 quads]
var<workgroup> partsV: array<vec4f, 192>; // W S of parts 1 to 3, [3][16][4 quads]; then V', and V' diag(e^(c_16 - c))
var<workgroup> partsO: array<vec4f, 192>; // Q S of parts 0, 2, 3
var<workgroup> decays: array<f32, 16>;   // g

/// Four rows of the tile from `slot` on, weighted.
fn madd(sum: vec4f, xs: vec4f, slot: u32) -> vec4f {
  return fma(vec4f(xs.w), tile[slot + 12u], fma(vec4f(xs.z), tile[slot + 8u], fma(vec4f(xs.y), tile[slot + 4u], fma(vec4f(xs.x), tile[slot], sum))));
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) thread: u32) {
  let head = wg.y;
  let keyHead = head / (VALUE_HEADS / KEY_HEADS);
  let quad = thread % 4u;
  let i = thread / 4u % 16u;
  let own = thread % 64u; // [i][quad]
  let part = thread / 64u;
  let columnQuad = wg.x * 4u + quad;
  // of the tile: half a quad of rows
  let rowQuad = thread / 8u;
  let rowSlot = (rowQuad * 4u + thread / 4u % 2u * 2u) * 4u + quad;
  let upper = thread / 4u % 2u == 1u;
  let source = (step.sourceSlot * VALUE_HEADS + head) * KEY_DIM * VALUE_QUADS + columnQuad;
  for (var row = thread / 4u; row < KEY_DIM; row += 64u) { tile[row * 4u + quad] = state[source + row * VALUE_QUADS]; }

  for (var first = 0u; first < step.tokens; first += 16u) {
    let count = min(16u, step.tokens - first);
    workgroupBarrier(); // the tile is whole, and V' of the last turn has been read
    if (thread < 16u) { decays[thread] = select(0.0, gates[(first + min(thread, count - 1u)) * VALUE_HEADS + head].x, thread < count); }
    let row = (first + i) * VALUE_HEADS + head;
    var v = vec4f();
    var out = vec4f();
    let query = (first + min(i, count - 1u)) * CHANNEL_QUADS + keyHead * KEY_QUADS;
    for (var k = 0u; k < PART_QUADS; k++) {
      let d = part * PART_QUADS + k;
      if (d < KEY_QUADS) {
        v = madd(v, w[row * KEY_QUADS + d], d * 16u + quad);
        out = madd(out, qkv[query + d], d * 16u + quad);
      }
    }
    if (part != 0u) { partsV[(part - 1u) * 64u + own] = v; }
    if (part != 1u) { partsO[(max(part, 1u) - 1u) * 64u + own] = out; }
    workgroupBarrier();
    // c of the lane's token and of the chunk
    var c = 0.0;
    var last = 0.0;
    for (var j = 0u; j < 16u; j++) {
      last += decays[j];
      c = select(c, last, j <= i);
    }
    if (part == 0u) {
      v = u[row * VALUE_QUADS + columnQuad] - (v + partsV[own] + partsV[64u + own] + partsV[128u + own]);
      partsV[own] = v; // what lay here only this lane reads
      partsV[64u + own] = select(vec4f(), v * exp(last - c), i < count);
    }
    if (part == 1u) { out = (out + partsO[own] + partsO[64u + own] + partsO[128u + own]) * exp(c); }
    workgroupBarrier();
    if (part == 1u) {
      let chunkRow = (((first / 16u) * VALUE_HEADS + head) * 16u + i) * 4u;
      for (var j = 0u; j < 4u; j++) { // p is 0 behind the diagonal
        let ps = p[chunkRow + j];
        let at = j * 16u + quad;
        out = fma(vec4f(ps.w), partsV[at + 12u], fma(vec4f(ps.z), partsV[at + 8u], fma(vec4f(ps.y), partsV[at + 4u], fma(vec4f(ps.x), partsV[at], out))));
      }
      if (i < count) { o[row * VALUE_QUADS + columnQuad] = out; }
    }
    if (rowQuad < KEY_QUADS) {
      let decay = exp(last);
      var s0 = tile[rowSlot] * decay;
      var s1 = tile[rowSlot + 4u] * decay;
      for (var j = 0u; j < 16u; j++) {
        let key = qkv[(first + min(j, count - 1u)) * CHANNEL_QUADS + (KEY_HEADS + keyHead) * KEY_QUADS + rowQuad];
        let fresh = partsV[64u + j * 4u + quad];
        s0 = fma(vec4f(select(key.x, key.z, upper)), fresh, s0);
        s1 = fma(vec4f(select(key.y, key.w, upper)), fresh, s1);
      }
      tile[rowSlot] = s0;
      tile[rowSlot + 4u] = s1;
    }
  }
  workgroupBarrier();
  let goal = (step.targetSlot * VALUE_HEADS + head) * KEY_DIM * VALUE_QUADS + columnQuad;
  for (var row = thread / 4u; row < KEY_DIM; row += 64u) { state[goal + row * VALUE_QUADS] = tile[row * 4u + quad]; }
}
