// expert_tile: up to TILE choices of one expert times two halves of 4 TX of its rows, for moe_gate_up_grouped and moe_down_grouped, which
// say where a choice's x lies (quadOfX), what the halves are (readHalf), and what becomes of the sums.
// A workgroup of TX x TY threads takes K columns at a time. Tiles lie [column][four choices or rows], as in gemm_q4_outer; what a thread
// brings of weights comes from columns_*. A thread keeps 8 choices by 8 rows, in named sums, since an array of them may spill; where no
// choice is left for it, it only brings. Every sum is one chain of multiply-adds over the columns in order, whatever else is in the tile.
override COLS: u32; override TX: u32; override TY: u32;
const K = 16u;
override THREADS: u32 = TX * TY;
override TILE: u32 = TY * 8u;
override ROWS_EACH: u32 = TX * 4u; // of a half
override CHOICE_QUADS: u32 = TY * 2u;
override ROW_QUADS: u32 = TX * 2u;
override STEPS: u32 = (COLS + K - 1u) / K;
override X_ITEMS: u32 = CHOICE_QUADS * K / 4u; // THREADS at most
override W_LOADS: u32 = ROW_QUADS * K / 8u / THREADS;
// Each column's quads are rotated, by its quad of columns (x) or its eight (W), so that neighbouring lanes write to different banks.
var<workgroup> tileX: array<vec4f, K * CHOICE_QUADS>;
var<workgroup> tileW: array<vec4f, K * ROW_QUADS>;

/// Sums of choice t of a thread's eight: its rows of the first half in a<t>, of the other in b<t>.
struct Sums {
  a0: vec4f, a1: vec4f, a2: vec4f, a3: vec4f, a4: vec4f, a5: vec4f, a6: vec4f, a7: vec4f,
  b0: vec4f, b1: vec4f, b2: vec4f, b3: vec4f, b4: vec4f, b5: vec4f, b6: vec4f, b7: vec4f,
};

/// The first place of a thread's choices, and the first of its four rows in a half, counted from the tile's.
fn placeOf(thread: u32, group: Group) -> u32 { return group.first + thread / TX * 8u; }
fn rowOf(thread: u32) -> u32 { return thread % TX * 4u; }

/// A quad of columns of four choices, as it lies.
fn readX(group: Group, t: u32, thread: u32) -> mat4x4f {
  if (thread >= X_ITEMS) { return mat4x4f(); }
  let place = group.first + thread / (K / 4u) * 4u;
  let quad = t * (K / 4u) + thread % (K / 4u);
  if (place >= group.end || quad >= COLS / 4u) { return mat4x4f(); }
  return mat4x4f(quadOfX(choiceAt(place, group), quad), quadOfX(choiceAt(place + 1u, group), quad),
    quadOfX(choiceAt(place + 2u, group), quad), quadOfX(choiceAt(place + 3u, group), quad));
}

fn putX(thread: u32, xs: mat4x4f) {
  if (thread >= X_ITEMS) { return; }
  let quad = thread % (K / 4u);
  let slot = quad * 4u * CHOICE_QUADS + (thread / (K / 4u) + quad) % CHOICE_QUADS;
  let columns = transpose(xs);
  for (var k = 0u; k < 4u; k++) { tileX[slot + k * CHOICE_QUADS] = columns[k]; }
}

/// Eight columns of the thread's i-th four rows.
fn readW(i: u32, group: Group, firstRow: u32, t: u32, thread: u32) -> Rows {
  if (i >= W_LOADS) { return Rows(); }
  let item = i * THREADS + thread;
  let quad = item / (K / 8u);
  return readHalf(group.slot, quad / TX, firstRow + quad % TX * 4u, t * (K / 8u) + item % (K / 8u));
}

fn putW(i: u32, thread: u32, rows: Rows) {
  if (i >= W_LOADS) { return; }
  let item = i * THREADS + thread;
  let index = item % (K / 8u);
  let slot = index * 8u * ROW_QUADS + (item / (K / 8u) + index * 4u) % ROW_QUADS;
  let low = fourColumns(rows, 0u);
  let high = fourColumns(rows, 1u);
  for (var k = 0u; k < 4u; k++) {
    tileW[slot + k * ROW_QUADS] = low[k];
    tileW[slot + (4u + k) * ROW_QUADS] = high[k];
  }
}

/// Of the group's choices and the rows from `firstRow` on of both halves. All threads of a workgroup call it.
fn tileSums(group: Group, firstRow: u32, thread: u32) -> Sums {
  let tx = thread % TX;
  let ty = thread / TX;
  let works = placeOf(thread, group) < group.end;
  var s = Sums();
  for (var t = 0u; t < STEPS; t++) {
    let xs = readX(group, t, thread);
    let w0 = readW(0u, group, firstRow, t, thread);
    let w1 = readW(1u, group, firstRow, t, thread);
    workgroupBarrier();
    putX(thread, xs);
    putW(0u, thread, w0);
    putW(1u, thread, w1);
    workgroupBarrier();
    for (var quad = 0u; works && quad < K / 4u; quad++) {
      let slotX = quad * 4u * CHOICE_QUADS;
      let low = slotX + (ty * 2u + quad) % CHOICE_QUADS;
      let high = slotX + (ty * 2u + 1u + quad) % CHOICE_QUADS;
      let slotW = quad * 4u * ROW_QUADS;
      let own = slotW + (tx + quad / 2u * 4u) % ROW_QUADS;
      let other = slotW + (tx + TX + quad / 2u * 4u) % ROW_QUADS;
      for (var k = 0u; k < 4u; k++) {
        let p = tileX[low + k * CHOICE_QUADS];
        let q = tileX[high + k * CHOICE_QUADS];
        let w = tileW[own + k * ROW_QUADS];
        let v = tileW[other + k * ROW_QUADS];
        s.a0 = fma(vec4f(p.x), w, s.a0); s.a1 = fma(vec4f(p.y), w, s.a1); s.a2 = fma(vec4f(p.z), w, s.a2); s.a3 = fma(vec4f(p.w), w, s.a3);
        s.a4 = fma(vec4f(q.x), w, s.a4); s.a5 = fma(vec4f(q.y), w, s.a5); s.a6 = fma(vec4f(q.z), w, s.a6); s.a7 = fma(vec4f(q.w), w, s.a7);
        s.b0 = fma(vec4f(p.x), v, s.b0); s.b1 = fma(vec4f(p.y), v, s.b1); s.b2 = fma(vec4f(p.z), v, s.b2); s.b3 = fma(vec4f(p.w), v, s.b3);
        s.b4 = fma(vec4f(q.x), v, s.b4); s.b5 = fma(vec4f(q.y), v, s.b5); s.b6 = fma(vec4f(q.z), v, s.b6); s.b7 = fma(vec4f(q.w), v, s.b7);
      }
    }
  }
  return s;
}
