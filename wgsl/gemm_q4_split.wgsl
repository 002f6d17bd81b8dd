// gemm_q4_split: Y = X W^T for several tokens and few rows, W in 4-bit affine groups: the 64 lanes of a workgroup share the columns.
//   x [tokens, COLS] f32;  y [tokens, record.b.w] f32, row r of this part at column record.a.w + r
//   ACCUMULATE adds to y (the residual) in place of writing it;  weights: matrix_affine with BITS 4
// A tile of gemm_q4 walks all columns with one workgroup; a matrix of 48 rows gives it one tile to make. Here a workgroup makes 4 rows
// (WIDE: 8) by 8 tokens, and each lane takes every 64th word of the rows, dequantised once for the eight tokens.
override COLS: u32; override ACCUMULATE: bool; override WIDE: bool;
override ROWS: u32 = select(4u, 8u, WIDE);
override WORDS: u32 = COLS / 8u;
override STEPS: u32 = (WORDS + LANES - 1u) / LANES;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> step: Step;

/// Eight weights of one row: columns 0 to 3, then 4 to 7.
fn weights8(row: u32, index: u32) -> array<vec4f, 2> {
  let w = word(row * WORDS + index);
  let s = scaleBias(row * (COLS / GROUP) + index * 8u / GROUP);
  let low = vec4f((vec4u(w) >> vec4u(0u, 4u, 8u, 12u)) & vec4u(15u));
  let high = vec4f((vec4u(w) >> vec4u(16u, 20u, 24u, 28u)) & vec4u(15u));
  return array(fma(low, vec4f(s.x), vec4f(s.y)), fma(high, vec4f(s.x), vec4f(s.y)));
}

/// Eight columns of four rows: entry k of `low` holds column k of each row, entry k of `high` column 4 + k.
struct FourRows { low: mat4x4f, high: mat4x4f };

fn fourRows(row: u32, index: u32) -> FourRows {
  let rows = min(vec4u(row, row + 1u, row + 2u, row + 3u), vec4u(record.a.z - 1u)); // past the end the last repeats, unwritten
  let r0 = weights8(rows.x, index); let r1 = weights8(rows.y, index); let r2 = weights8(rows.z, index); let r3 = weights8(rows.w, index);
  return FourRows(transpose(mat4x4f(r0[0], r1[0], r2[0], r3[0])), transpose(mat4x4f(r0[1], r1[1], r2[1], r3[1])));
}

/// Eight columns of one token; tokens past the end repeat the last one, and their sums are not written.
struct Columns { low: vec4f, high: vec4f };

fn columns(token: u32, index: u32) -> Columns {
  let at = min(token, step.tokens - 1u) * (COLS / 4u) + 2u * index;
  return Columns(x[at], x[at + 1u]);
}

/// One chain of multiply-adds a row, so that a row's bits do not depend on its place among four.
fn madd(sums: vec4f, xs: Columns, w: FourRows) -> vec4f { return madd4(madd4(sums, xs.low, w.low), xs.high, w.high); }

fn madd4(sums: vec4f, xs: vec4f, w: mat4x4f) -> vec4f {
  return fma(vec4f(xs.w), w[3], fma(vec4f(xs.z), w[2], fma(vec4f(xs.y), w[1], fma(vec4f(xs.x), w[0], sums))));
}

fn store(token: u32, row: u32, own: vec4f, lane: Lane) {
  let sums = reduceAdd(own, lane);
  if (token < step.tokens && lane.index < 4u && row + lane.index < record.a.z) {
    let at = token * record.b.w + record.a.w + row + lane.index;
    y[at] = sums[lane.index] + select(0.0, y[at], ACCUMULATE);
  }
}

@compute @workgroup_size(LANES)
fn main(lane: Lane, @builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let row = (wg.z * grid.x + wg.x) * ROWS; // row blocks past 65,535 fold into grid.z
  let token = wg.y * 8u;
  // sums of token t: rows 0-3 in a<t>, rows 4-7 in b<t>
  var a0 = vec4f(); var a1 = vec4f(); var a2 = vec4f(); var a3 = vec4f();
  var a4 = vec4f(); var a5 = vec4f(); var a6 = vec4f(); var a7 = vec4f();
  var b0 = vec4f(); var b1 = vec4f(); var b2 = vec4f(); var b3 = vec4f();
  var b4 = vec4f(); var b5 = vec4f(); var b6 = vec4f(); var b7 = vec4f();
  for (var t = 0u; t < STEPS; t++) {
    let index = t * LANES + lane.index;
    if (index < WORDS) {
      let x0 = columns(token, index); let x1 = columns(token + 1u, index); let x2 = columns(token + 2u, index);
      let x3 = columns(token + 3u, index); let x4 = columns(token + 4u, index); let x5 = columns(token + 5u, index);
      let x6 = columns(token + 6u, index); let x7 = columns(token + 7u, index);
      let a = fourRows(row, index);
      a0 = madd(a0, x0, a); a1 = madd(a1, x1, a); a2 = madd(a2, x2, a); a3 = madd(a3, x3, a);
      a4 = madd(a4, x4, a); a5 = madd(a5, x5, a); a6 = madd(a6, x6, a); a7 = madd(a7, x7, a);
      if (WIDE) {
        let b = fourRows(row + 4u, index);
        b0 = madd(b0, x0, b); b1 = madd(b1, x1, b); b2 = madd(b2, x2, b); b3 = madd(b3, x3, b);
        b4 = madd(b4, x4, b); b5 = madd(b5, x5, b); b6 = madd(b6, x6, b); b7 = madd(b7, x7, b);
      }
    }
  }
  store(token, row, a0, lane); store(token + 1u, row, a1, lane); store(token + 2u, row, a2, lane); store(token + 3u, row, a3, lane);
  store(token + 4u, row, a4, lane); store(token + 5u, row, a5, lane); store(token + 6u, row, a6, lane); store(token + 7u, row, a7, lane);
  if (WIDE) {
    store(token, row + 4u, b0, lane); store(token + 1u, row + 4u, b1, lane); store(token + 2u, row + 4u, b2, lane);
    store(token + 3u, row + 4u, b3, lane); store(token + 4u, row + 4u, b4, lane); store(token + 5u, row + 4u, b5, lane);
    store(token + 6u, row + 4u, b6, lane); store(token + 7u, row + 4u, b7, lane);
  }
}
