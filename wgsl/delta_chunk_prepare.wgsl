// delta_chunk_prepare: the state-independent half of the chunked delta rule (WY form), for all chunks of 16 tokens at once.
// Per chunk and value head, c = inclusive cumulative sum of g, rows past the step's end are zero:
//   A_ij = beta_i (k_i . k_j) e^(c_i - c_j), i > j;   T = (I + A)^-1;   U = T diag(beta) V;   W = T diag(beta e^c) K
//   P_ij = (q_i . k_j) e^(c_i - c_j), i >= j
//   qkv, gates as in delta_rule_direct;  u [chunks * 16, VALUE_HEADS, VALUE_DIM], w [chunks * 16, VALUE_HEADS, KEY_DIM] f32
//   p [chunks, VALUE_HEADS, 16, 16] f32
// Exponents are <= 0. T by forward substitution, one column a thread; one workgroup per (value head, chunk).
// 16 tokens keep K (8 KiB at KEY_DIM 128), A, T and P in 16 KiB. 4 divides KEY_DIM <= 128 and VALUE_DIM.
override KEY_HEADS: u32; override VALUE_HEADS: u32; override KEY_DIM: u32; override VALUE_DIM: u32;
override CHANNELS: u32 = 2u * KEY_HEADS * KEY_DIM + VALUE_HEADS * VALUE_DIM;
override KEY_QUADS: u32 = KEY_DIM / 4u;
override VALUE_QUADS: u32 = VALUE_DIM / 4u;
@group(0) @binding(0) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(1) var<storage, read> gates: array<vec2f>;
@group(0) @binding(2) var<storage, read_write> u: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> w: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> p: array<f32>;
@group(0) @binding(5) var<uniform> step: Step;
var<workgroup> keyTile: array<vec4f, 512>; // [16][KEY_QUADS]
var<workgroup> sums: array<f32, 16>;       // c
var<workgroup> betas: array<f32, 16>;
var<workgroup> a: array<f32, 256>;
var<workgroup> t: array<f32, 256>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) thread: u32) {
  let head = wg.x;
  let first = wg.y * 16u;
  let count = min(16u, step.tokens - first);
  let keyHead = head / (VALUE_HEADS / KEY_HEADS);
  let queryBase = keyHead * KEY_QUADS;
  let keyBase = (KEY_HEADS + keyHead) * KEY_QUADS;
  let valueBase = 2u * KEY_HEADS * KEY_QUADS + head * VALUE_QUADS;
  let stride = CHANNELS / 4u;

  for (var i = thread; i < 16u * KEY_QUADS; i += 64u) {
    let row = i / KEY_QUADS;
    keyTile[i] = select(vec4f(), qkv[min(first + row, step.tokens - 1u) * stride + keyBase + i % KEY_QUADS], row < count);
  }
  if (thread == 0u) {
    var c = 0.0;
    for (var i = 0u; i < 16u; i++) {
      let gate = select(vec2f(), gates[min(first + i, step.tokens - 1u) * VALUE_HEADS + head], i < count);
      c += gate.x;
      sums[i] = c;
      betas[i] = gate.y;
    }
  }
  workgroupBarrier();

  for (var ij = thread; ij < 256u; ij += 64u) {
    let i = ij / 16u;
    let j = ij % 16u;
    var kk = vec4f();
    var qk = vec4f();
    if (j <= i && i < count) {
      let queryRow = (first + i) * stride + queryBase;
      for (var d = 0u; d < KEY_QUADS; d++) {
        let kj = keyTile[j * KEY_QUADS + d];
        kk += keyTile[i * KEY_QUADS + d] * kj;
        qk += qkv[queryRow + d] * kj;
      }
    }
    let decay = exp(min(sums[i] - sums[j], 0.0));
    a[ij] = select(0.0, betas[i] * dot(kk, vec4f(1.0)) * decay, j < i);
    p[((wg.y * VALUE_HEADS + head) * 16u + i) * 16u + j] = dot(qk, vec4f(1.0)) * decay;
  }
  workgroupBarrier();

  if (thread < 16u) {
    for (var i = 0u; i < 16u; i++) {
      var x = select(0.0, 1.0, i == thread);
      for (var j = thread; j < i; j++) { x -= a[i * 16u + j] * t[j * 16u + thread]; }
      t[i * 16u + thread] = x;
    }
  }
  workgroupBarrier();

  // A thread makes one column quad of U or of W for all 16 rows.
  for (var column = thread; column < VALUE_QUADS + KEY_QUADS; column += 64u) {
    for (var i = 0u; i < 16u; i++) {
      var sum = vec4f();
      for (var j = 0u; j <= i; j++) {
        var x: vec4f;
        if (column < VALUE_QUADS) {
          x = qkv[min(first + j, step.tokens - 1u) * stride + valueBase + column];
        } else {
          x = keyTile[j * KEY_QUADS + column - VALUE_QUADS] * exp(sums[j]);
        }
        sum += t[i * 16u + j] * betas[j] * x; // beta is zero past the end
      }
      let row = (first + i) * VALUE_HEADS + head;
      if (column < VALUE_QUADS) { u[row * VALUE_QUADS + column] = sum; } else { w[row * KEY_QUADS + column - VALUE_QUADS] = sum; }
    }
  }
}
