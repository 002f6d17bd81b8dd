// expert_tile_direct: expert_tile without workgroup memory or barriers, for CPU adapters (see gemv_direct): a thread takes all of a tile's
// TILE = 4 choices and four rows of each half.
override COLS: u32; override TX: u32;
const TILE = 4u;
override THREADS: u32 = TX;
override ROWS_EACH: u32 = TX * 4u; // of a half

/// Sums of choice t: the thread's rows of the first half in a<t>, of the other in b<t>; there are no more than four.
struct Sums {
  a0: vec4f, a1: vec4f, a2: vec4f, a3: vec4f, a4: vec4f, a5: vec4f, a6: vec4f, a7: vec4f,
  b0: vec4f, b1: vec4f, b2: vec4f, b3: vec4f, b4: vec4f, b5: vec4f, b6: vec4f, b7: vec4f,
};

fn placeOf(thread: u32, group: Group) -> u32 { return group.first; }
fn rowOf(thread: u32) -> u32 { return thread * 4u; }

struct Columns { low: mat4x4f, high: mat4x4f };

/// Eight columns of four rows -> sums of one choice.
fn madd(sum: vec4f, low: vec4f, high: vec4f, w: Columns) -> vec4f { return sum + (w.low * low + w.high * high); }

fn tileSums(group: Group, firstRow: u32, thread: u32) -> Sums {
  let row = firstRow + rowOf(thread);
  let c0 = choiceAt(group.first, group); let c1 = choiceAt(group.first + 1u, group);
  let c2 = choiceAt(group.first + 2u, group); let c3 = choiceAt(group.first + 3u, group);
  var s = Sums();
  for (var i = 0u; i < (COLS + 7u) / 8u; i++) {
    let a = readHalf(group.slot, 0u, row, i);
    let b = readHalf(group.slot, 1u, row, i);
    let wa = Columns(fourColumns(a, 0u), fourColumns(a, 1u));
    let wb = Columns(fourColumns(b, 0u), fourColumns(b, 1u));
    let next = min(2u * i + 1u, COLS / 4u - 1u); // past the end weights are 0
    var l = quadOfX(c0, 2u * i); var h = quadOfX(c0, next);
    s.a0 = madd(s.a0, l, h, wa); s.b0 = madd(s.b0, l, h, wb);
    l = quadOfX(c1, 2u * i); h = quadOfX(c1, next);
    s.a1 = madd(s.a1, l, h, wa); s.b1 = madd(s.b1, l, h, wb);
    l = quadOfX(c2, 2u * i); h = quadOfX(c2, next);
    s.a2 = madd(s.a2, l, h, wa); s.b2 = madd(s.b2, l, h, wb);
    l = quadOfX(c3, 2u * i); h = quadOfX(c3, next);
    s.a3 = madd(s.a3, l, h, wa); s.b3 = madd(s.b3, l, h, wb);
  }
  return s;
}
