// gemm: Y = X W^T for a step of several tokens, for any weight format (matrix_affine or matrix_float).
//   x [tokens, COLS] f32;  y [tokens, Y_COLS] f32, row r of this part at column record.a.w + r
//   ACCUMULATE adds to y (the residual) in place of writing it
// A workgroup makes a tile of 32 tokens by 32 rows, 32 columns at a time: both operands go through workgroup memory (9 KiB as f32; Tile is vec4f or vec4h),
// weights are dequantised once per tile, and each of 8 x 8 threads keeps 4 tokens by 4 rows in four vec4f.
override COLS: u32; override Y_COLS: u32; override ACCUMULATE: bool;
override QUADS: u32 = COLS / 4u;
override STEPS: u32 = (QUADS + 7u) / 8u;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> step: Step;
var<workgroup> tileX: array<Tile, 288>; // [32 tokens][8 quads], rows padded to 9 against bank conflicts
var<workgroup> tileW: array<Tile, 288>; // [32 rows][8 quads]

fn load(firstToken: u32, firstRow: u32, firstQuad: u32, thread: u32) {
  for (var i = 0u; i < 4u; i++) {
    let at = i * 64u + thread;
    let line = at / 8u;
    let quad = firstQuad + at % 8u;
    let slot = line * 9u + at % 8u;
    var xs = vec4f();
    if (firstToken + line < step.tokens && quad < QUADS) { xs = x[(firstToken + line) * QUADS + quad]; }
    var ws = vec4f();
    if (firstRow + line < record.a.z && quad < QUADS) { ws = weight4(firstRow + line, quad); }
    tileX[slot] = Tile(clamp(xs, vec4f(-TILE_MAX), vec4f(TILE_MAX)));
    tileW[slot] = Tile(ws);
  }
}

fn store(token: u32, row: u32, sums: vec4f) {
  if (token >= step.tokens) { return; }
  for (var i = 0u; i < 4u; i++) {
    let r = row + i * 8u;
    if (r < record.a.z) {
      let at = token * Y_COLS + record.a.w + r;
      y[at] = sums[i] + select(0.0, y[at], ACCUMULATE);
    }
  }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) thread: u32) {
  let firstRow = (wg.z * grid.x + wg.x) * 32u; // row tiles past 65,535 fold into grid.z
  let firstToken = wg.y * 32u;
  let tx = thread % 8u; // rows tx, tx + 8, tx + 16, tx + 24
  let ty = thread / 8u; // tokens likewise
  var sums0 = vec4f(); var sums1 = vec4f(); var sums2 = vec4f(); var sums3 = vec4f();
  for (var t = 0u; t < STEPS; t++) {
    workgroupBarrier();
    load(firstToken, firstRow, t * 8u, thread);
    workgroupBarrier();
    for (var q = 0u; q < 8u; q++) {
      let w0 = vec4f(tileW[tx * 9u + q]); let w1 = vec4f(tileW[(tx + 8u) * 9u + q]);
      let w2 = vec4f(tileW[(tx + 16u) * 9u + q]); let w3 = vec4f(tileW[(tx + 24u) * 9u + q]);
      let x0 = vec4f(tileX[ty * 9u + q]); let x1 = vec4f(tileX[(ty + 8u) * 9u + q]);
      let x2 = vec4f(tileX[(ty + 16u) * 9u + q]); let x3 = vec4f(tileX[(ty + 24u) * 9u + q]);
      sums0 += vec4f(dot(w0, x0), dot(w1, x0), dot(w2, x0), dot(w3, x0));
      sums1 += vec4f(dot(w0, x1), dot(w1, x1), dot(w2, x1), dot(w3, x1));
      sums2 += vec4f(dot(w0, x2), dot(w1, x2), dot(w2, x2), dot(w3, x2));
      sums3 += vec4f(dot(w0, x3), dot(w1, x3), dot(w2, x3), dot(w3, x3));
    }
  }
  let token = firstToken + ty;
  let row = firstRow + tx;
  store(token, row, sums0);
  store(token + 8u, row, sums1);
  store(token + 16u, row, sums2);
  store(token + 24u, row, sums3);
}
