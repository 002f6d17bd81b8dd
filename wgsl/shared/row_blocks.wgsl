// row_blocks: how gemv_q4_staged, gemv_q4_held and gemv_q4_units share the work, and what 32 columns add to a few rows of y.
// A unit is 32 neighbouring weights of a row: one vec4u, inside one group. A block is ROWS neighbouring rows. A team of LANES lanes
// owns ROW_BLOCKS blocks: of every row of a block a lane takes every LANESth unit, and meets all of them with the same x.
// A workgroup holds TEAMS teams; sums over a team come from team_*: lane 4b + r of a team has that of row r of its block b.
// Every row of a kernel is summed in the same order, wherever it lies and however many there are.
override COLS: u32;
override ROWS: u32; // 2 or 4
override ROW_BLOCKS: u32;
override BLOCKS: u32; // sums of four over a team, those of the blocks first; LANES / 4 at most
override LANES: u32;
override TEAMS: u32;
override THREADS: u32 = LANES * TEAMS;
override UNITS: u32 = COLS / 32u;

/// `row` is the first of the team, within this part.
struct Place { row: u32, team: u32, lane: u32 };

/// Chooses the workgroup's matrix too: `record` is not set before.
fn placeOf(thread: u32, workgroup: u32) -> Place {
  let team = thread / LANES;
  let own = chooseRecord(workgroup, ROWS * ROW_BLOCKS * TEAMS);
  return Place((own * TEAMS + team) * ROWS * ROW_BLOCKS, team, thread % LANES);
}

/// One unit of each row of a block as it lies in memory: weights and scale pairs.
struct Rows { w0: vec4u, w1: vec4u, w2: vec4u, w3: vec4u, p0: vec2u, p1: vec2u, p2: vec2u, p3: vec2u };

/// Unit `unit` of the rows [row, row + ROWS).
fn readRows(row: u32, unit: u32) -> Rows {
  var r = Rows();
  // Rows past the end repeat the last one; their sums are not written.
  let rows = min(vec4u(row, row + 1u, row + 2u, row + 3u), vec4u(record.a.z - 1u));
  let at = rows * UNITS + record.a.x + unit;
  let groups = rows * (COLS / GROUP) + unit * 32u / GROUP;
  r.w0 = slabUnit(at.x);
  r.w1 = slabUnit(at.y);
  if (ROWS == 4u) { r.w2 = slabUnit(at.z); r.w3 = slabUnit(at.w); }
  r.p0 = pairBits(groups.x);
  r.p1 = pairBits(groups.y);
  if (ROWS == 4u) { r.p2 = pairBits(groups.z); r.p3 = pairBits(groups.w); }
  return r;
}

/// What a unit adds to the rows: with W = scale * q + bias that is scale * sum(q * x) + bias * sum(x).
fn addRows(r: Rows, x: Unit) -> vec4f {
  let s0 = pairValue(r.p0);
  let s1 = pairValue(r.p1);
  if (ROWS == 2u) {
    return vec4f(fma(vec2f(unitDot(r.w0, x), unitDot(r.w1, x)), vec2f(s0.x, s1.x), x.sum * vec2f(s0.y, s1.y)), 0.0, 0.0);
  }
  let s2 = pairValue(r.p2);
  let s3 = pairValue(r.p3);
  let dots = vec4f(unitDot(r.w0, x), unitDot(r.w1, x), unitDot(r.w2, x), unitDot(r.w3, x));
  return fma(dots, vec4f(s0.x, s1.x, s2.x, s3.x), x.sum * vec4f(s0.y, s1.y, s2.y, s3.y));
}
