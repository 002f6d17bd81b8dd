// state_rows: a column quad of a delta rule's state, for delta_step and delta_step_units: a thread has every PARTSth row of it.
// Whoever reads declares `state`, `key` and `query`, zero past the end, and WHOLE: there are no rows past KEY_DIM.

/// Row `row` of the state that begins at `begin`; zero past the end.
fn rowOf(begin: u32, row: u32) -> vec4f {
  if (!WHOLE && row >= KEY_DIM) { return vec4f(); }
  return state[begin + row * QUADS];
}

/// Every PARTSth row from `row` on, a column of a matrix each.
fn fourRows(begin: u32, row: u32) -> mat4x4f {
  return mat4x4f(rowOf(begin, row), rowOf(begin, row + PARTS), rowOf(begin, row + 2u * PARTS), rowOf(begin, row + 3u * PARTS));
}

/// What `key` and `query` have for them.
fn fourKeys(row: u32) -> vec4f { return vec4f(key[row], key[row + PARTS], key[row + 2u * PARTS], key[row + 3u * PARTS]); }
fn fourQueries(row: u32) -> vec4f { return vec4f(query[row], query[row + PARTS], query[row + 2u * PARTS], query[row + 3u * PARTS]); }

fn putRow(goal: u32, row: u32, value: vec4f) {
  if (WHOLE || row < KEY_DIM) { state[goal + row * QUADS] = value; }
}

/// Moves four rows on and writes them; what they give with the query.
fn moveFour(s: mat4x4f, goal: u32, row: u32, decay: f32, d: vec4f) -> vec4f {
  let k = fourKeys(row);
  let next = s * decay + mat4x4f(d * k.x, d * k.y, d * k.z, d * k.w);
  putRow(goal, row, next[0]);
  putRow(goal, row + PARTS, next[1]);
  putRow(goal, row + 2u * PARTS, next[2]);
  putRow(goal, row + 3u * PARTS, next[3]);
  return next * fourQueries(row);
}
