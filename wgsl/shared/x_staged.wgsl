// x_staged: a workgroup copies x to its own memory, CHUNK units of 32 values at a time, and sums each unit once for all rows.
// Lanes that read eight quads each are 128 bytes apart, all in the same bank: the ninth quad of a unit, which holds its sums,
// spreads them over the banks.
override CHUNK: u32;
override CHUNKS: u32 = (UNITS + CHUNK - 1u) / CHUNK;
override TILE: u32 = CHUNK * 8u;
/// Quads of x that a thread has on their way at once, and how often.
override BATCH: u32 = select(4u, 8u, TILE > 4u * THREADS);
override BATCHES: u32 = (TILE + BATCH * THREADS - 1u) / (BATCH * THREADS);
override SUMS: u32 = (CHUNK + THREADS - 1u) / THREADS;
var<workgroup> tile: array<vec4f, CHUNK * 9u>;

fn stage(chunk: u32, thread: u32) {
  if (chunk > 0u) { workgroupBarrier(); } // the chunk before is still being read
  for (var t = 0u; t < BATCHES; t++) {
    let first = t * BATCH * THREADS + thread;
    let low = readFour(chunk, first);
    var high = Four();
    if (BATCH == 8u) { high = readFour(chunk, first + 4u * THREADS); }
    putFour(first, low);
    if (BATCH == 8u) { putFour(first + 4u * THREADS, high); }
  }
  workgroupBarrier();
  for (var t = 0u; t < SUMS; t++) {
    let place = t * THREADS + thread;
    if (place < CHUNK) { tile[place * 9u + 8u] = vec4f(unitSums(readUnit(place)), 0.0, 0.0); }
  }
  workgroupBarrier();
}

/// Quads `first`, and 1, 2 and 3 THREADS later.
struct Four { a: vec4f, b: vec4f, c: vec4f, d: vec4f };

fn readFour(chunk: u32, first: u32) -> Four {
  // Past the end of x it repeats the last quad, which nobody asks for.
  let at = min(chunk * TILE + first + THREADS * vec4u(0u, 1u, 2u, 3u), vec4u(COLS / 4u - 1u));
  return Four(x[at.x], x[at.y], x[at.z], x[at.w]);
}

fn putFour(first: u32, four: Four) {
  putQuad(first, four.a);
  putQuad(first + THREADS, four.b);
  putQuad(first + 2u * THREADS, four.c);
  putQuad(first + 3u * THREADS, four.d);
}

fn putQuad(quad: u32, value: vec4f) {
  if (quad < TILE) { tile[quad / 8u * 9u + quad % 8u] = value; }
}

/// The unit in place `place` of the staged chunk.
fn readUnit(place: u32) -> Unit {
  let i = place * 9u;
  let sums = tile[i + 8u];
  return Unit(
    tile[i], tile[i + 1u], tile[i + 2u], tile[i + 3u], tile[i + 4u], tile[i + 5u], tile[i + 6u], tile[i + 7u], sums.x, sums.y);
}
